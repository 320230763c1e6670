-- Version 1 of the state database. A released version is never edited: the next one is a file of its own.

create table setting (
    name text not null primary key,
    value text not null
) strict, without rowid;

create table remote (
    name text not null primary key,
    host text not null,
    port integer not null,
    user text not null,
    key text,
    accept_new integer not null,
    agent_allowed integer not null,
    facts text,           -- JSON of the agent's facts
    last_reached integer  -- seconds since the Unix epoch
) strict, without rowid;

create table choice (
    workspace blob not null primary key,
    remote text not null references remote (name) on delete cascade
) strict, without rowid;

create table pair (
    id integer primary key,
    workspace blob not null,
    remote text not null references remote (name) on delete cascade,
    remote_dir text not null,
    copy text,
    root_inode integer,
    root_device integer,
    exclude text not null default '[]',  -- JSON list of patterns
    include text not null default '[]',  -- JSON list of patterns
    paused integer not null default 0,
    wanted integer not null default 0,
    last_visible integer,
    last_durable integer,
    unique (workspace, remote)
) strict;

create table base (
    pair integer not null references pair (id) on delete cascade,
    path text not null,
    kind integer not null check (kind between 0 and 3),  -- file, folder, link, special
    hash blob check (length(hash) = 32),                 -- BLAKE3 of a file
    size integer,
    executable integer,
    target text,                                         -- of a link
    mode integer not null,
    local blob check (length(local) = 40),               -- stamp: five little-endian words
    remote blob check (length(remote) = 40),
    primary key (pair, path)
) strict, without rowid;

create table conflict (
    pair integer not null references pair (id) on delete cascade,
    path text not null,
    since integer not null,  -- seconds since the Unix epoch
    primary key (pair, path)
) strict, without rowid;
