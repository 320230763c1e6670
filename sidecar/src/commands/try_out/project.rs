//! The project of the tour: a small sample of the kind that trains models, or a copy of the user's folder.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use protocol::path::RelPath;
use tokio_util::sync::CancellationToken;

use crate::sync::ignored::{Options, Rules};
use crate::sync::scan::{LocalContent, Root, Under, scan};

/// What is run in the copy of the sample.
pub(super) const COMMAND: &str = "sh run.sh";
/// Modules of the sample's package.
const MODULES: usize = 120;
/// Pieces of the sample's data, and bytes of each.
const SHARDS: usize = 24;
const SHARD: usize = 96 * 1024;

/// Writes the sample to `path`. The same bytes each time.
pub(super) fn sample(path: &Path) -> io::Result<()> {
    for folder in ["src/model", "data/shards", "configs", "outputs"] {
        fs::create_dir_all(path.join(folder))?;
    }
    fs::write(path.join(".gitignore"), "outputs/\n__pycache__/\n*.ckpt\n")?;
    fs::write(path.join("README.md"), "# Sample\n\nA project to try MLToolbox with.\n")?;
    fs::write(path.join("configs/base.yaml"), "learning_rate: 0.001\nbatch_size: 32\nepochs: 10\n")?;
    fs::write(path.join("src/train.py"), "from model import layers\n\nprint(\"training\", layers.COUNT)\n")?;
    fs::write(path.join("outputs/run.ckpt"), vec![0; SHARD])?;
    for number in 0..MODULES {
        let text = format!("\"\"\"Layer {number}.\"\"\"\n\nWIDTH = {}\n", 64 << (number % 5)).repeat(1 + number % 7);
        fs::write(path.join(format!("src/model/layer_{number:03}.py")), text)?;
    }
    fs::write(path.join("src/model/layers.py"), format!("COUNT = {MODULES}\n"))?;
    for number in 0..SHARDS {
        fs::write(path.join(format!("data/shards/{number:04}.bin")), noise(number as u64, SHARD))?;
    }
    let script = "echo \"$(find src -name '*.py' | wc -l) modules, $(ls data/shards | wc -l) shards\"\n\
                  grep learning_rate configs/base.yaml\n";
    fs::write(path.join("run.sh"), format!("#!/bin/sh\n{script}"))?;
    fs::set_permissions(path.join("run.sh"), fs::Permissions::from_mode(0o755))?;
    symlink("base.yaml", path.join("configs/default.yaml"))
}

/// Returns bytes that do not compress, the same for the same seed (`SplitMix64`).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// Copies what a sync of `from` would send to `to`, so that the original stays as it is.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let options = Options { exclude: Vec::new(), include: Vec::new(), global: None, git: false };
    let rules = Rules::load(from, &options);
    let root = Root::open(from).map_err(io::Error::other)?;
    let found = scan(&root, &rules, Under::Everything, &|_: &RelPath| None, &CancellationToken::new());
    fs::create_dir_all(to)?;
    for (path, local) in found.map_err(io::Error::other)?.entries {
        let (source, target) = (from.join(path.as_str()), to.join(path.as_str()));
        match local.content {
            LocalContent::Folder => fs::create_dir(target)?,
            LocalContent::Link { target: text } => symlink(text, target)?,
            LocalContent::File { .. } => drop(fs::copy(source, target)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_leaves_out_what_is_ignored() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        sample(&from).expect("the sample is written");
        copy(&from, &to).expect("the sample is copied");
        assert!(to.join("src/train.py").is_file() && to.join("configs/default.yaml").is_symlink());
        assert!(!to.join("outputs/run.ckpt").exists());
        let mode = fs::metadata(to.join("run.sh")).expect("the script is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
