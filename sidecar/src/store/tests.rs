//! The database against real files: several connections, old and new versions, damage, full and read-only disks.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use protocol::editor::RemoteRow;
use protocol::error::{Code, Explain as _};
use protocol::hello::Facts;
use protocol::sync::Hash;
use rusqlite::OptionalExtension as _;

use protocol::editor::NoAgent;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn remote(name: &str) -> RemoteRow {
    RemoteRow { name: name.to_owned(), host: "198.51.100.7".to_owned(), port: Some(22), ..RemoteRow::default() }
}

fn file(number: u64) -> Base {
    let stamp = Stamp { size: number, mtime_ns: -1, ctime_ns: i64::MAX, inode: u64::MAX, device: number };
    Base {
        content: Content::File { hash: Hash([7; 32]), size: number, executable: number.is_multiple_of(2) },
        mode: 0o640,
        local: Some(stamp),
        remote: None,
    }
}

async fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("state/mltoolbox.db")).await.expect("an empty folder takes a database")
}

async fn pair_of(store: &Store) -> Pair {
    store.put_remote(&remote("gpu1")).await.expect("stored");
    store.pair(Path::new("/w"), "gpu1", "~/x").await.expect("stored")
}

#[test]
fn the_default_path_follows_xdg() {
    let check = |config: Option<&str>, home: Option<&str>| {
        default_path(config.map(OsStr::new), home.map(OsStr::new)).map(|path| path.display().to_string())
    };
    assert_eq!(check(Some("/c"), Some("/h")).as_deref(), Some("/c/mltoolbox/mltoolbox.db"));
    assert_eq!(check(Some(""), Some("/h")).as_deref(), Some("/h/.config/mltoolbox/mltoolbox.db"));
    assert_eq!(check(Some("relative"), Some("/h")).as_deref(), Some("/h/.config/mltoolbox/mltoolbox.db"));
    assert_eq!(check(None, None), None);
}

#[tokio::test]
async fn everything_survives_a_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = store(&folder).await;
    let machine = first.machine().await.expect("an id");
    assert_eq!(machine.len(), 32);
    let mut pair = pair_of(&first).await;
    pair.copy = Some("copy".to_owned());
    pair.root = Some((u64::MAX, 3));
    pair.exclude = vec!["*.bin".to_owned(), "a \"b\"".to_owned()];
    pair.wanted = true;
    first.set_pair(&pair).await.expect("stored");
    first.mark_pair(&pair).await.expect("stored");
    let facts = Facts { os: "Linux".to_owned(), cpus: 4, ..Facts::default() };
    first.reached("gpu1", Some(&facts)).await.expect("stored");
    first.reached("gpu1", None).await.expect("stored");
    first.allow_agent("gpu1", true).await.expect("stored");
    first.choose(Path::new("/w"), "gpu1").await.expect("stored");
    let rows = vec![
        (path("a.py"), file(3)),
        (path("dir"), Base { content: Content::Folder, mode: 0o755, local: None, remote: None }),
        (
            path("link"),
            Base { content: Content::Link { target: "a.py".into() }, mode: 0o777, local: None, remote: None },
        ),
        (path("socket"), Base { content: Content::Special, mode: 0o600, local: None, remote: None }),
    ];
    first.commit(pair.id, rows.iter().cloned().map(|(path, base)| (path, Some(base))).collect()).await.expect("stored");

    let second = store(&folder).await;
    assert_eq!(second.machine().await.expect("an id"), machine);
    assert_eq!(second.pairs().await.expect("pairs"), [pair.clone()]);
    assert_eq!(second.base(pair.id).await.expect("a base"), rows);
    assert_eq!(second.choice(Path::new("/w")).await.expect("a choice").as_deref(), Some("gpu1"));
    let stored = second.remote("gpu1").await.expect("a remote").expect("stored above");
    assert!(stored.agent_allowed && stored.last_reached.is_some() && stored.facts == Some(facts));
    assert_eq!(stored.no_agent, None);
    second.no_agent("gpu1", Some(NoAgent::NoExec)).await.expect("stored");
    let stored = second.remote("gpu1").await.expect("a remote").expect("stored above");
    assert_eq!(stored.no_agent, Some(NoAgent::NoExec));
    // Storing it again must not take its pairs along.
    second.put_remote(&stored).await.expect("stored");
    assert_eq!(second.base(pair.id).await.expect("a base").len(), 4);
    second.commit(pair.id, vec![(path("a.py"), None)]).await.expect("stored");
    assert_eq!(first.base(pair.id).await.expect("a base").len(), 3);

    second.remove_remote("gpu1").await.expect("removed");
    assert_eq!(first.pairs().await.expect("pairs"), []);
    assert_eq!(first.base(pair.id).await.expect("a base"), []);
    assert_eq!(first.choice(Path::new("/w")).await.expect("a choice"), None);
}

#[tokio::test]
async fn settings_and_marks_are_stored_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let seen = pair_of(&store).await;
    let marked = Pair { copy: Some("copy".to_owned()), root: Some((1, 2)), last_visible: Some(3), ..seen.clone() };
    store.mark_pair(&marked).await.expect("stored");
    // Meanwhile another process, which saw nothing of this, was told something.
    let told = Pair { exclude: vec!["*.bin".to_owned()], git: SyncGit::Push, ..seen.clone() };
    store.set_pair(&told).await.expect("stored");
    store.pause_pair(seen.id, true).await.expect("stored");
    store.want_pair(seen.id, true).await.expect("stored");
    let pair = Pair { exclude: told.exclude, git: told.git, paused: true, wanted: true, ..marked };
    assert_eq!(store.pairs().await.expect("pairs"), std::slice::from_ref(&pair));
    store.mark_pair(&Pair { last_visible: Some(4), ..seen }).await.expect("stored");
    store.want_pair(pair.id, false).await.expect("stored");
    let pair = Pair { copy: None, root: None, last_visible: Some(4), wanted: false, ..pair };
    assert_eq!(store.pairs().await.expect("pairs"), [pair]);
}

#[tokio::test]
async fn another_remote_folder_starts_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let mut pair = pair_of(&store).await;
    pair.copy = Some("copy".to_owned());
    store.mark_pair(&pair).await.expect("stored");
    store.commit(pair.id, vec![(path("a"), Some(file(1)))]).await.expect("stored");
    assert_eq!(store.pair(Path::new("/w"), "gpu1", "~/x").await.expect("the same"), pair);
    let moved = store.pair(Path::new("/w"), "gpu1", "~/y").await.expect("moved");
    assert_eq!((moved.id, moved.copy, moved.remote_dir.as_str()), (pair.id, None, "~/y"));
    assert_eq!(store.base(pair.id).await.expect("a base"), []);
}

#[tokio::test]
async fn an_unknown_remote_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    for error in [
        store.pair(Path::new("/w"), "gpu9", "~/x").await.map(drop).expect_err("no such remote"),
        store.choose(Path::new("/w"), "gpu9").await.expect_err("no such remote"),
    ] {
        assert_eq!(error.code(), Code::RemoteUnknown);
        assert!(error.to_string().contains("`gpu9`"), "{error}");
    }
}

#[tokio::test]
async fn a_conflict_keeps_its_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let pair = pair_of(&store).await;
    let first = store.conflicts(pair.id, vec![path("a"), path("b")]).await.expect("stored");
    store.write(|write| write.execute("update conflict set since = 5", [])).await.expect("stored");
    let second = store.conflicts(pair.id, vec![path("b"), path("c")]).await.expect("stored");
    assert_eq!(first.len(), 2);
    assert_eq!(second.first(), Some(&(path("b"), 5)));
    assert!(second.len() == 2 && second.iter().any(|(found, since)| *found == path("c") && *since > 5));
}

#[tokio::test]
async fn the_file_is_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let mode = |path: &Path| std::fs::metadata(path).expect("it was made").mode() & 0o777;
    assert_eq!(mode(store.path()), 0o600);
    assert_eq!(mode(store.path().parent().expect("it has a folder")), 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_connections_lose_no_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = folder.path().join("state/mltoolbox.db");
    // They race from the making of the file on.
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let location = location.clone();
        tasks.push(tokio::spawn(async move {
            let store = Store::open(&location).await.expect("opened beside others");
            for _ in 0..100 {
                let raise = |write: &Transaction<'_>| {
                    let count: Option<i64> = write
                        .query_row("select cast(value as integer) from setting where name = 'n'", [], |row| row.get(0))
                        .optional()?;
                    let next = (count.unwrap_or(0) + 1).to_string();
                    write.execute("insert or replace into setting (name, value) values ('n', ?)", [next])
                };
                store.write(raise).await.expect("the lock is waited for");
            }
            store.machine().await.expect("an id")
        }));
    }
    let mut machines = Vec::new();
    for task in tasks {
        machines.push(task.await.expect("no panic"));
    }
    machines.dedup();
    assert_eq!(machines.len(), 1);
    let store = Store::open(&location).await.expect("opened");
    let count: String = store
        .read(|read| read.query_row("select value from setting where name = 'n'", [], |row| row.get(0)))
        .await
        .expect("a count");
    assert_eq!(count, "400");
}

#[tokio::test]
async fn chunk_lists_are_kept_up_to_a_cap() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let list = |byte: u8| StoredChunks { size: u64::MAX >> 1, list: vec![byte; 36] };
    for byte in [1, 2, 1, 3] {
        store.put_chunk_list_within(80, Hash([byte; 32]), list(byte)).await.expect("stored");
    }
    let known = |byte: u8| store.chunk_list(Hash([byte; 32]));
    assert_eq!(known(1).await.expect("read"), Some(list(1)), "it was stored again after the second");
    assert_eq!(known(2).await.expect("read"), None, "the oldest went");
    assert_eq!(known(3).await.expect("read"), Some(list(3)));
    store.put_chunk_list(Hash([4; 32]), list(4)).await.expect("stored");
    store.forget_chunk_list(Hash([3; 32])).await.expect("forgotten");
    assert_eq!((known(3).await.expect("read"), known(4).await.expect("read")), (None, Some(list(4))));
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = folder.path().join("old.db");
    let old = Connection::open(&location).expect("a new file");
    old.execute_batch(include_str!("schema.sql")).expect("the first version");
    old.execute_batch(
        "insert into remote values ('gpu1', 'host', 22, 'u', null, 0, 0, null, null);
         insert into pair (workspace, remote, remote_dir) values (x'2f77', 'gpu1', '~/x');
         pragma user_version = 1;",
    )
    .expect("some rows");
    drop(old);
    let store = Store::open(&location).await.expect("it is understood");
    let mut pair = store.pairs().await.expect("read").pop().expect("it is there");
    assert_eq!((pair.workspace.as_path(), pair.append.as_slice()), (Path::new("/w"), [].as_slice()));
    pair.append = vec!["*.log".to_owned()];
    store.set_pair(&pair).await.expect("stored");
    assert_eq!(store.pairs().await.expect("read"), [pair]);
}

#[tokio::test]
async fn a_newer_file_is_refused_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let location = store.path().to_owned();
    store.run(|connection| connection.pragma_update(None, "user_version", 99)).await.expect("set");
    let error = Store::open(&location).await.expect_err("a version from the future");
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error:?}");
    assert_eq!(error.code(), Code::StoreNewer);
    let version: i64 = store
        .read(|read| read.pragma_query_value(None, "user_version", |row| row.get(0)))
        .await
        .expect("still readable");
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_file_of_version_1_is_brought_up_to_date_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = folder.path().join("mltoolbox.db");
    let old = Connection::open(&location).expect("a new file");
    old.execute_batch(include_str!("schema.sql")).expect("version 1");
    old.execute_batch(
        "insert into remote values ('gpu1', 'gpu.lab', 2222, 'ada', '/k', 1, 1, null, 7);
         insert into choice values (x'2f77', 'gpu1');
         insert into pair (id, workspace, remote, remote_dir, paused) values (1, x'2f77', 'gpu1', '~/x', 1);
         insert into base (pair, path, kind, mode) values (1, 'a', 1, 493);
         insert into conflict values (1, 'b', 3);
         pragma user_version = 1;",
    )
    .expect("rows of version 1");
    drop(old);
    let store = Store::open(&location).await.expect("it is brought up to date");
    let row = store.remote("gpu1").await.expect("readable").expect("there");
    let as_before = RemoteRow {
        name: "gpu1".to_owned(),
        host: "gpu.lab".to_owned(),
        port: Some(2222),
        user: Some("ada".to_owned()),
        key: Some("/k".to_owned()),
        accept_new: true,
        agent_allowed: true,
        last_reached: Some(7),
        ..RemoteRow::default()
    };
    assert_eq!(row, as_before);
    assert_eq!(store.choice(Path::new("/w")).await.expect("readable").as_deref(), Some("gpu1"));
    let kept = |table: &'static str| {
        store.read(move |read| read.query_row(&format!("select count(*) from {table}"), [], |row| row.get::<_, i64>(0)))
    };
    for table in ["pair", "base", "conflict"] {
        assert_eq!(kept(table).await.expect("a count"), 1, "{table}");
    }
    // What refers to a remote goes with it, as before.
    store.remove_remote("gpu1").await.expect("removed");
    for table in ["choice", "pair", "base", "conflict"] {
        assert_eq!(kept(table).await.expect("a count"), 0, "{table}");
    }
    let open = RemoteRow { port: None, user: None, jump: Some("gate".to_owned()), ..as_before };
    store.put_remote(&open).await.expect("stored");
    assert_eq!(store.remote("gpu1").await.expect("readable"), Some(open));
}

#[tokio::test]
async fn a_damaged_file_is_named_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = folder.path().join("mltoolbox.db");
    std::fs::write(&location, "this is no database, and it is long enough to have a header".repeat(100))
        .expect("written");
    let before = std::fs::read(&location).expect("readable");
    let error = Store::open(&location).await.expect_err("no database");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.help().contains(&format!("mv {}", location.display())), "{}", error.help());
    assert_eq!(std::fs::read(&location).expect("readable"), before);
}

#[tokio::test]
async fn a_path_that_could_escape_is_no_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let pair = pair_of(&store).await;
    store.commit(pair.id, vec![(path("a"), Some(file(1)))]).await.expect("stored");
    store.write(|write| write.execute("update base set path = '../etc'", [])).await.expect("tampered");
    assert!(matches!(store.base(pair.id).await, Err(StoreError::Failed { .. })));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("written");
    let error = Store::open(&folder.path().join("file/mltoolbox.db")).await.expect_err("a file is no folder");
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
}

#[tokio::test]
async fn a_read_only_file_can_be_read_and_says_so_when_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = store(&folder).await.path().to_owned();
    std::fs::set_permissions(&location, std::fs::Permissions::from_mode(0o400)).expect("ours");
    // The superuser writes whatever the mode says, and then there is nothing to refuse.
    let refused = std::fs::OpenOptions::new().append(true).open(&location).is_err();
    let store = Store::open(&location).await.expect("readable");
    let written = store.put_remote(&remote("gpu1")).await;
    assert_eq!(matches!(written, Err(StoreError::ReadOnly { .. })), refused, "{written:?}");
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let pair = pair_of(&store).await;
    // SQLite gives the same answer as a full disk when a database has reached its page limit.
    store
        .run(|connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
        .await
        .expect("limited");
    let many = (0..5000).map(|number| (path(&format!("file{number}")), Some(file(number)))).collect();
    let error = store.commit(pair.id, many).await.expect_err("no room");
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(store.base(pair.id).await.expect("readable"), []);
}

#[tokio::test]
async fn thirty_thousand_rows_are_one_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let pair = pair_of(&store).await;
    let many: Vec<BaseChange> = (0..30_000)
        .map(|number| (path(&format!("src/folder{}/file{number}.py", number % 300)), Some(file(number))))
        .collect();
    store.commit(pair.id, many).await.expect("stored");
    store.rest().await.expect("it gives memory back");
    assert_eq!(store.base(pair.id).await.expect("a base").len(), 30_000);
    store.clear_base(pair.id).await.expect("cleared");
    assert_eq!(store.base(pair.id).await.expect("a base"), []);
}
