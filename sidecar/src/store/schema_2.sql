-- Version 2: what was not named for a remote is left to ~/.ssh/config. What version 1 stored stays as it is.
-- SQLite cannot make a column nullable; rows of other tables refer to `remote` by name and are left alone, since
-- foreign keys are off while this runs.

create table remote_2 (
    name text not null primary key,
    host text not null,   -- as typed: alias, name or address
    port integer,
    user text,
    jump text,            -- as in ProxyJump
    key text,
    accept_new integer not null,
    agent_allowed integer not null,
    facts text,           -- JSON of the agent's facts
    last_reached integer  -- seconds since the Unix epoch
) strict, without rowid;

insert into remote_2 (name, host, port, user, key, accept_new, agent_allowed, facts, last_reached)
    select name, host, port, user, key, accept_new, agent_allowed, facts, last_reached from remote;

drop table remote;

alter table remote_2 rename to remote;
