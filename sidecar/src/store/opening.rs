//! Opens the database file so that several processes may use it, and brings it up to date.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::StoreError;

/// One script per version, in order; `user_version` says how many of them a file has seen.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];

/// How long a statement waits for another process. The longest transaction of ours (a base of 100 000 rows)
/// takes well under a second on a slow disk.
const BUSY: Duration = Duration::from_secs(5);

/// Pause between attempts to switch the journal; SQLite refuses those at once instead of waiting.
const JOURNAL_PAUSE: Duration = Duration::from_millis(5);

/// Memory for pages, in kibibytes as SQLite has it (negative): bases are read once and written in order, so that a
/// larger cache only stays full of what nobody asks for again.
const CACHE: i64 = -512;

/// Prepared statements kept; there are about twenty different ones.
const STATEMENTS: usize = 32;

/// Opens or makes the database. Blocks; for the thread that owns the connection.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    prepare_file(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
    let failed = |source| StoreError::of(path, source);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Before the journal mode, which has to wait for other processes, too.
    connection.busy_timeout(BUSY).map_err(failed)?;
    set_journal(&connection, path)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    connection.pragma_update(None, "cache_size", CACHE).map_err(failed)?;
    // A migration that makes a table anew must not delete what refers to the old one. Within a transaction this
    // cannot be changed.
    connection.pragma_update(None, "foreign_keys", "OFF").map_err(failed)?;
    migrate(&mut connection, path)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(failed)?;
    Ok(connection)
}

/// Makes the folder and an empty file that nobody else may read. SQLite gives its side files the same mode.
fn prepare_file(path: &Path) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new();
    file.append(true).create(true);
    let mut folder = fs::DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent() {
        folder.create(parent)?;
    }
    match file.open(path) {
        Ok(file) => narrow(&file),
        // SQLite can still read it; the first write says that it is read-only.
        Err(error) if is_read_only(&error) && path.exists() => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_read_only(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
}

#[cfg(unix)]
fn narrow(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata()?.permissions().mode();
    if mode.trailing_zeros() >= 6 { Ok(()) } else { file.set_permissions(fs::Permissions::from_mode(0o600)) }
}

#[cfg(not(unix))]
fn narrow(_: &fs::File) -> std::io::Result<()> {
    Ok(())
}

/// Chooses the write-ahead log, or the rollback journal where processes cannot share memory through files.
fn set_journal(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let wanted = if is_on_network(path) { "delete" } else { "wal" };
    let deadline = Instant::now() + BUSY;
    loop {
        let attempt =
            connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)).and_then(|mode| {
                if mode.eq_ignore_ascii_case(wanted) {
                    return Ok(());
                }
                connection.pragma_update_and_check(None, "journal_mode", wanted, |_| Ok(()))
            });
        match attempt {
            Ok(()) => return Ok(()),
            // A database on a read-only disk stays as it is; reading it is allowed.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => return Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                std::thread::sleep(JOURNAL_PAUSE);
            }
            Err(error) => return Err(StoreError::of(path, error)),
        }
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::of(path, source);
    let known = MIGRATIONS.len();
    let version =
        |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    if usize::try_from(version(connection).map_err(failed)?) == Ok(known) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Read again: another process may have migrated while this one waited for the lock.
    let found = version(&transaction).map_err(failed)?;
    let pending = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..));
    let Some(pending) = pending else {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: i64::try_from(known).expect("a handful of versions"),
        });
    };
    for script in pending {
        transaction.execute_batch(script).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "user_version", i64::try_from(known).expect("a handful of versions"))
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Returns whether the file lies where the write-ahead log's shared memory does not work between machines.
#[cfg(target_os = "linux")]
fn is_on_network(path: &Path) -> bool {
    // NFS, SMB, CIFS, SMB2, 9p, FUSE, AFS, Ceph, Lustre, GPFS (statfs(2) and linux/magic.h).
    const NETWORK: [u64; 10] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x0102_1997,
        0x6573_5546,
        0x5346_414F,
        0x00C3_6400,
        0x0BD0_0BD0,
        0x4750_4653,
    ];
    rustix::fs::statfs(path).is_ok_and(|facts| {
        // Only the low half is the magic number; it is signed on some platforms.
        let magic = facts.f_type.cast_unsigned() & 0xFFFF_FFFF;
        NETWORK.contains(&magic)
    })
}

/// Returns whether the file lies on a network file system; unknown here, so the safer local default is kept.
#[cfg(not(target_os = "linux"))]
fn is_on_network(_: &Path) -> bool {
    false
}
