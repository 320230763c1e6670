-- Whether `.git` is synced, and what its index said when both sides were last equal.

alter table pair add column git integer not null default 0 check (git between 0 and 1);  -- 1: pushed
alter table pair add column git_index blob check (length(git_index) = 32);              -- BLAKE3 of the index's entries
