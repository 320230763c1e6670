-- What is brought home from remotes.

alter table pair add column pull text not null default '[]';  -- JSON list of patterns

-- What was brought home although it is not synced: ignored files, by the same columns as the base.
create table pulled (
    pair integer not null references pair (id) on delete cascade,
    path text not null,
    kind integer not null check (kind between 0 and 3),
    hash blob check (length(hash) = 32),
    size integer,
    executable integer,
    target text,
    mode integer not null,
    local blob check (length(local) = 40),
    remote blob check (length(remote) = 40),
    primary key (pair, path)
) strict, without rowid;
