// SPDX-License-Identifier: Apache-2.0
// Work N: threads that hash and sort, a timer that writes to a mapped file, a log that is
// locked; the file "result" is the same however often it is interrupted.
import java.io.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.security.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Work {
    static byte[] chain(int seed, int rounds) throws Exception {
        MessageDigest md = MessageDigest.getInstance("SHA-256");
        byte[] b = ("seed " + seed).getBytes();
        List<byte[]> kept = new ArrayList<>();
        for (int i = 0; i < rounds; i++) {
            b = md.digest(b);
            if (i % 50 == 0)
                kept.add(b.clone());
        }
        kept.sort(Arrays::compare);
        for (byte[] k : kept)
            md.update(k);
        return md.digest();
    }

    public static void main(String[] args) throws Exception {
        int n = Integer.parseInt(args[0]);
        RandomAccessFile log = new RandomAccessFile("log", "rw");
        FileLock lock = log.getChannel().lock();
        MappedByteBuffer map;
        try (FileChannel c = FileChannel.open(Path.of("map"), StandardOpenOption.CREATE,
                StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            map = c.map(FileChannel.MapMode.READ_WRITE, 0, 65536);
        }
        AtomicInteger ticks = new AtomicInteger();
        CountDownLatch ticked = new CountDownLatch(n);
        ScheduledExecutorService timer = Executors.newScheduledThreadPool(2);
        timer.scheduleAtFixedRate(() -> {
            int t = ticks.getAndIncrement();
            if (t < n)
                map.putInt(4 * t, t * 7919 % 10007);
            ticked.countDown();
        }, 5, 15, TimeUnit.MILLISECONDS);
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<byte[]>> parts = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            int seed = i;
            parts.add(pool.submit(() -> chain(seed, 6000)));
        }
        try (PrintWriter out = new PrintWriter("result")) {
            for (int i = 0; i < n; i++) {
                String text = HexFormat.of().formatHex(parts.get(i).get());
                log.writeBytes(text + "\n");
                out.println(i + " " + text);
            }
            ticked.await();
            for (int i = 0; i < n; i++)
                out.println("tick " + map.getInt(4 * i));
            out.println("log " + log.length() + " " + lock.isValid());
        }
        timer.shutdownNow();
        pool.shutdown();
        lock.release();
        log.close();
    }
}
