%% Writes the people of a cluster benchmark straight into Mnesia: compiled and called by ejabberd.py.
-module(crowd).
-export([fill/4]).

%% People 0 .. Count-1 stand in a ring; Steps says where each one's contacts stand, seen from there.
fill(Domain, Count, Steps, Secret) ->
    Type = mnesia:table_info(roster, storage_type),
    %% In memory meanwhile: writing contact lists one by one to disc_only_copies takes far longer.
    {atomic, ok} = mnesia:change_table_copy_type(roster, node(), ram_copies),
    Names = list_to_tuple([name(Person) || Person <- lists:seq(0, Count - 1)]),
    lists:foreach(fun(Person) -> write(Domain, Names, Person, Steps, Secret) end, lists:seq(0, Count - 1)),
    {atomic, ok} = mnesia:change_table_copy_type(roster, node(), Type),
    ok.

write(Domain, Names, Person, Steps, Secret) ->
    Name = element(Person + 1, Names),
    Owner = {Name, Domain},
    ok = mnesia:dirty_write({passwd, Owner, Secret}),
    Count = tuple_size(Names),
    lists:foreach(
        fun(Step) ->
            Contact = {element((Person + Step + Count) rem Count + 1, Names), Domain, <<>>},
            Key = {Name, Domain, Contact},
            ok = mnesia:dirty_write({roster, Key, Owner, Contact, <<>>, both, none, [], <<>>, []})
        end,
        Steps
    ).

name(Person) ->
    iolist_to_binary(io_lib:format("person~5..0B", [Person])).
