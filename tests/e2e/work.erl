%% SPDX-License-Identifier: Apache-2.0
%% Processes, ports, timers, tables and files of the Erlang virtual machine, so many rounds.
%% What it writes depends on nothing else.
-module(work).
-export([main/1]).

main([Rounds]) ->
    ets:new(squares, [named_table, public]),
    Cat = open_port({spawn, "cat"}, [stream, binary]),
    {ok, Result} = file:open("result", [write, raw]),
    Sum = rounds(1, list_to_integer(Rounds), Cat, Result, 0),
    ok = file:write(Result, io_lib:format("~p ~p~n", [Sum, ets:info(squares, size)])),
    halt(0).

rounds(N, Last, _, _, Sum) when N > Last -> Sum;
rounds(N, Last, Cat, Result, Sum) ->
    N = ring(N),
    Text = integer_to_binary(N),
    port_command(Cat, Text),
    Text = receive {Cat, {data, Back}} -> Back after 60000 -> lost end,
    ets:insert(squares, {N, N * N}),
    [{N, Square}] = ets:lookup(squares, N),
    erlang:send_after(2, self(), tick),
    ok = receive tick -> ok after 60000 -> lost end,
    Hash = erlang:phash2([lists:seq(1, 20000), Square]),
    ok = file:write(Result, io_lib:format("~p~n", [Hash])),
    rounds(N + 1, Last, Cat, Result, Sum + Hash).

%% A message through a hundred processes.
ring(Message) ->
    First = lists:foldl(fun(_, Next) -> spawn(fun() -> receive M -> Next ! M end end) end,
                        self(), lists:seq(1, 100)),
    First ! {token, Message},
    receive {token, M} -> M after 60000 -> lost end.
