//! Rows about one large file: a change in its middle, an addition at its end, and its first copy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::proxy::{Proxy, Way};
use harness::skip::has;

use crate::Arguments;
use crate::bed::{Bed, REMOTE};
use crate::data::Random;
use crate::first::sound;
use crate::measure::{self, Sample};
use crate::report::{Report, Row};
use crate::tools;

pub(crate) const MIB: u64 = 1024 * 1024;
/// Name of the file.
pub(crate) const NAME: &str = "model.bin";
/// Most runs: each copies the file with every tool, and memory holds all the copies.
const RUNS: usize = 3;

/// What is done to the file before each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    /// 1 MiB in the middle is other.
    Middle,
    /// The same, and 4 KiB are inserted at 100 KiB.
    MiddleAndInsert,
    /// So many bytes are added at the end.
    Append(u64),
}

/// A tool that brings one file up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Ours,
    /// With `--append`.
    OursInPlace,
    /// The same by a background process that is connected already.
    OursInPlaceOpen,
    Rsync(&'static str),
    Tar,
}

impl Tool {
    fn name(self) -> String {
        match self {
            Self::Ours => "ours".to_owned(),
            Self::OursInPlace => "ours, `--append`".to_owned(),
            Self::OursInPlaceOpen => "ours, `--append`, open connection".to_owned(),
            Self::Rsync(flags) => format!("rsync {flags}"),
            Self::Tar => "tar \\| ssh tar".to_owned(),
        }
    }

    fn is_ours(self) -> bool {
        match self {
            Self::Ours | Self::OursInPlace | Self::OursInPlaceOpen => true,
            Self::Rsync(_) | Self::Tar => false,
        }
    }

    /// Returns which of the sources it copies: each of ours has a workspace of its own, as it remembers what it sent
    /// from there.
    fn source(self) -> usize {
        match self {
            Self::Ours | Self::Rsync(_) | Self::Tar => 0,
            Self::OursInPlace => 1,
            Self::OursInPlaceOpen => 2,
        }
    }

    fn is_here(self) -> bool {
        !matches!(self, Self::Rsync(_)) || has("rsync")
    }

    fn command(self, bed: &Bed, source: &Path, target: &str, port: u16) -> Command {
        let config = bed.host.client_config(port).display().to_string();
        let (from, to) = (source.display().to_string(), bed.remote(target).display().to_string());
        let push = ["sync", "push", &from, "--to", &to, "--remote", REMOTE, "--yes", "--json"];
        match self {
            Self::Ours => bed.ours(&push),
            Self::OursInPlace => bed.ours(&[&push[..], &["--append", NAME]].concat()),
            Self::OursInPlaceOpen => {
                let flush = bed.ours_line(&["sync", "flush", "--workspace", &from, "--json"]);
                bed.shell(&format!("cat {} >>{from}/{NAME} && {flush}", addition(bed).display()))
            }
            Self::Rsync(flags) => bed.shell(&format!("rsync {flags} -e 'ssh -F {config}' {from}/ bench:{to}/")),
            Self::Tar => tools::Tool::Tar.command(bed, source, target, port),
        }
    }

    /// Copies the file for the first time.
    fn begin(self, bed: &Bed, source: &Path, target: &str, port: u16) -> Result<(), String> {
        let (from, to) = (source.display().to_string(), bed.remote(target).display().to_string());
        let mut command = match self {
            Self::Ours | Self::OursInPlace | Self::Rsync(_) | Self::Tar => self.command(bed, source, target, port),
            Self::OursInPlaceOpen => {
                let watch = ["sync", "watch", &from, "--to", &to, "--remote", REMOTE, "--yes", "--json"];
                bed.ours(&[&watch[..], &["--append", NAME]].concat())
            }
        };
        measure::run(bed, &mut command).map(drop)
    }

    /// Changes its source, or prepares what its command changes it with: what is watched travels at once.
    fn edit(self, bed: &Bed, source: &Path, edit: Edit, random: &mut Random) -> io::Result<()> {
        match (self, edit) {
            (Self::OursInPlaceOpen, Edit::Append(length)) => fs::write(addition(bed), noise(length, random)),
            (_, Edit::Append(_) | Edit::Middle | Edit::MiddleAndInsert) => alter(source, edit, random),
        }
    }
}

/// Returns the file whose bytes are added to one that is watched.
fn addition(bed: &Bed) -> PathBuf {
    bed.work.path().join("addition")
}

fn noise(length: u64, random: &mut Random) -> Vec<u8> {
    (0..length / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Measures a file that changed.
pub(crate) fn change(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    let (size, edit, tools): (u64, Edit, &[Tool]) = match row {
        "big" => (1024 * MIB, Edit::MiddleAndInsert, BIG),
        "big-middle" => (1024 * MIB, Edit::Middle, BIG),
        "append-log" => (200 * MIB, Edit::Append(64 * 1024), APPEND),
        _ => (256 * MIB, Edit::Append(8 * MIB), APPEND),
    };
    let tools: Vec<Tool> = tools.iter().copied().filter(|tool| tool.is_here()).collect();
    let row_of = |tool: &Tool| Row::new(row, &tool.name(), tool.is_ours()).open(*tool == Tool::OursInPlaceOpen);
    let mut rows: Vec<Row> = tools.iter().map(row_of).collect();
    let mut random = Random::new(arguments.seed);
    let used: BTreeMap<usize, Tool> = tools.iter().map(|tool| (tool.source(), *tool)).collect();
    let folder = |number: usize| bed.work.path().join(format!("data/{row}-{number}"));
    let source = |tool: Tool| folder(tool.source());
    let target = |index: usize| format!("{row}-{index}");
    for number in used.keys() {
        make(&folder(*number), size, arguments.seed).expect("enough memory for the data");
    }
    let port = bed.port();
    if let Err(reason) = tools::Tool::Ours.prepare(bed, &folder(0), "none", port) {
        rows[0].add(Err(reason));
    }
    for (index, tool) in tools.iter().enumerate() {
        if let Err(reason) = tool.begin(bed, &source(*tool), &target(index), port) {
            rows[index].add(Err(reason));
        }
    }
    for run in 0..arguments.runs.min(RUNS) {
        let change = random.next();
        for tool in used.values() {
            tool.edit(bed, &source(*tool), edit, &mut Random::new(change)).expect("our own file");
        }
        for step in 0..tools.len() {
            let index = (run + step) % tools.len();
            if !rows[index].failed() {
                let from = source(tools[index]);
                let result = measure::run(bed, &mut tools[index].command(bed, &from, &target(index), port));
                let equal = sound(&from, &bed.remote(&target(index)));
                rows[index].add(result.and_then(|sample: Sample| equal.map(|()| sample)));
            }
        }
    }
    for (index, tool) in tools.iter().enumerate() {
        if !rows[index].failed() {
            rows[index].bytes = bytes(bed, *tool, &source(*tool), edit, &mut random);
        }
    }
    bed.forget();
    for number in used.into_keys() {
        crate::bed::remove(&folder(number));
    }
    report.extend(rows);
}

const BIG: &[Tool] = &[Tool::Ours, Tool::Rsync("-a"), Tool::Rsync("-a -B131072"), Tool::Tar];
const APPEND: &[Tool] = &[
    Tool::Ours,
    Tool::OursInPlace,
    Tool::OursInPlaceOpen,
    Tool::Rsync("-a"),
    Tool::Rsync("-a --append"),
    Tool::Rsync("-a --append-verify"),
    Tool::Rsync("-a --inplace"),
];

/// Counts bytes in a run of its own, over a wire whose copying would disturb the clock.
fn bytes(bed: &Bed, tool: Tool, source: &Path, edit: Edit, random: &mut Random) -> Option<(u64, u64)> {
    bed.forget();
    let wire = Proxy::start(bed.port());
    if tool.is_ours() {
        tools::Tool::Ours.prepare(bed, source, "copy", wire.port()).ok()?;
    }
    tool.begin(bed, source, "copy", wire.port()).ok()?;
    tool.edit(bed, source, edit, random).ok()?;
    let before = (wire.bytes(Way::Up), wire.bytes(Way::Down));
    measure::run(bed, &mut tool.command(bed, source, "copy", wire.port())).ok()?;
    Some((wire.bytes(Way::Up) - before.0, wire.bytes(Way::Down) - before.1))
}

/// Measures the first copy of one large file, against a pipe that looks at nothing.
pub(crate) fn raw(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    let source = bed.work.path().join("data").join(row);
    make(&source, 1024 * MIB, arguments.seed).expect("enough memory for the data");
    let port = bed.port();
    let (config, file) = (bed.host.client_config(port).display().to_string(), source.join(NAME));
    let to = bed.remote("copy");
    let pipe = format!(
        "dd if={} bs=1M status=none | ssh -F {config} bench 'mkdir -p {} && cat >{}'",
        file.display(),
        to.display(),
        to.join(NAME).display()
    );
    let mut rows = [Row::new(row, "ours", true), Row::new(row, "dd \\| ssh cat", false)];
    for run in 0..arguments.runs.min(RUNS) {
        for step in 0..rows.len() {
            let index = (run + step) % rows.len();
            if rows[index].failed() {
                continue;
            }
            let result = tools::Tool::Ours.prepare(bed, &source, "copy", port).and_then(|()| {
                let ours = tools::Tool::Ours.command(bed, &source, "copy", port);
                let mut command = if index == 0 { ours } else { bed.shell(&pipe) };
                measure::run(bed, &mut command)
            });
            rows[index].add(result.and_then(|sample| sound_bytes(&source, &to).map(|()| sample)));
        }
    }
    bed.forget();
    crate::bed::remove(&source);
    report.extend(rows);
}

/// A pipe keeps no times, so only the bytes are compared.
pub(crate) fn sound_bytes(source: &Path, target: &Path) -> Result<(), String> {
    let same = Command::new("cmp").arg(source.join(NAME)).arg(target.join(NAME)).output();
    let same = same.map_err(|error| error.to_string())?;
    if same.status.success() { Ok(()) } else { Err("the copy is not equal".to_owned()) }
}

/// Makes a folder with a file of `size` bytes that cannot be compressed.
pub(crate) fn make(folder: &Path, size: u64, seed: u64) -> io::Result<()> {
    crate::bed::remove(folder);
    fs::create_dir_all(folder)?;
    let mut file = BufWriter::new(File::create(folder.join(NAME))?);
    let mut random = Random::new(seed);
    for _ in 0..size / 8 {
        file.write_all(&random.next().to_le_bytes())?;
    }
    file.flush()
}

fn alter(folder: &Path, edit: Edit, random: &mut Random) -> io::Result<()> {
    let path = folder.join(NAME);
    let file = File::options().read(true).write(true).open(&path)?;
    let size = file.metadata()?.len();
    match edit {
        Edit::Append(length) => file.write_all_at(&noise(length, random), size),
        Edit::Middle => file.write_all_at(&noise(MIB, random), size / 2),
        Edit::MiddleAndInsert => {
            file.write_all_at(&noise(MIB, random), size / 2)?;
            // Written anew beside it, as editors do; memory does not hold it whole.
            let fresh = folder.join("fresh");
            let mut to = File::create(&fresh)?;
            let mut from = file;
            from.seek(SeekFrom::Start(0))?;
            io::copy(&mut (&from).take(100 * 1024), &mut to)?;
            to.write_all(&noise(4096, random))?;
            io::copy(&mut from, &mut to)?;
            fs::rename(fresh, path)
        }
    }
}
