//! Finding the root: where the path that a person gave leads, and whether that may be a root at all.

use super::super::super::target::OpenTarget;
use super::super::error::RootError;
use super::super::seen::Kind;
use super::super::wire::{Fault, Wire};
use super::split;

/// Finds the folder that a root is, or says why it must not be one. Returns its path and whether it was made.
pub(super) async fn locate(wire: &Wire, open: &OpenTarget) -> Result<(String, bool), RootError> {
    let asked = open.path.as_str();
    let failed = |doing| move |fault| RootError::failed(doing, asked, fault);
    // A server starts in the home, so that all is asked at once.
    let from_home = absolute(asked, "");
    let there = if asked.starts_with('/') { from_home.as_str() } else { from_home.trim_start_matches('/') };
    let (home, found, real) = if there.is_empty() {
        (wire.resolve(".").await, Ok(None), Err(Fault::Missing))
    } else {
        tokio::join!(wire.resolve("."), wire.look(there), wire.resolve(there))
    };
    let home = home.map_err(failed("find the home above"))?;
    if !home.starts_with('/') {
        return Err(failed("find the home above")(Fault::Nonsense("a home is no absolute path")));
    }
    let path = absolute(asked, &home);
    let unfit = |what| RootError::Unfit { path: path.clone(), what };
    if asked.starts_with('~') && asked != "~" && !asked.starts_with("~/") {
        return Err(unfit("in the home of another user, which is not looked up"));
    }
    if path.len() <= 1 {
        return Err(unfit("the root of the file system"));
    }
    if path == home {
        return Err(unfit("the home folder itself"));
    }
    let look = |fault| RootError::failed("look at", &path, fault);
    let is_there = matches!(found, Ok(Some(_)));
    let (found, real) = if is_there || !open.create {
        (found, real)
    } else {
        make_above(wire, &path).await.map_err(|fault| RootError::failed("make the folders above", &path, fault))?;
        (wire.look(&path).await, Err(Fault::Missing))
    };
    let mut created = false;
    match found.map_err(look)?.map(|seen| seen.kind) {
        Some(Kind::Folder) => {}
        Some(Kind::Link) => {
            let target = wire.target(&path).await.map_err(look)?;
            return Err(RootError::Link { path, target });
        }
        Some(Kind::File | Kind::Special) => return Err(RootError::NotFolder { path }),
        None if open.create => {
            created = wire.make_folder(&path, 0o777).await.map_err(|fault| RootError::failed("make", &path, fault))?;
        }
        None => return Err(RootError::Missing { path }),
    }
    // By another way (a link above it) it may still be one of those.
    let real = if is_there { real } else { wire.resolve(&path).await };
    match real.map_err(look)?.as_str() {
        "/" => Err(unfit("the root of the file system")),
        real if real == home => Err(unfit("the home folder itself")),
        _ => Ok((path, created)),
    }
}

/// Makes the folders above a path that are missing. A server may show nothing of those it keeps to itself.
async fn make_above(wire: &Wire, path: &str) -> Result<(), Fault> {
    let mut missing = Vec::new();
    let mut above = split(path).0;
    while !above.is_empty() && matches!(wire.look(above).await, Ok(None)) {
        missing.push(above);
        above = split(above).0;
    }
    for folder in missing.into_iter().rev() {
        wire.make_folder(folder, 0o777).await?;
    }
    Ok(())
}

/// Returns the absolute path that `text` means, without `.` and doubled slashes.
fn absolute(text: &str, home: &str) -> String {
    let below_home = text.strip_prefix("~/").or((text == "~").then_some("")).unwrap_or(text);
    let whole = if text.starts_with('/') { text.to_owned() } else { format!("{home}/{below_home}") };
    let mut path = String::new();
    for name in whole.split('/').filter(|name| !name.is_empty() && *name != ".") {
        path.push('/');
        path.push_str(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_meant_by_tilde_and_by_nothing() {
        for (text, want) in [
            ("~", "/home/u"),
            ("~/a/./b/", "/home/u/a/b"),
            ("a/b", "/home/u/a/b"),
            ("./a", "/home/u/a"),
            ("/data//x/", "/data/x"),
            ("/.", ""),
        ] {
            assert_eq!(absolute(text, "/home/u"), want, "{text}");
        }
        assert_eq!(absolute("~/x", "/"), "/x");
    }
}
