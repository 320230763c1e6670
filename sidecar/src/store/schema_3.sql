-- Version 3: why no agent is used on a remote, so that it is not tried again and again.

alter table remote add column no_agent text;  -- JSON of the reason
