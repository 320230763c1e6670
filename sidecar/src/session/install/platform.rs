//! Pure: which machines there are agents for, and whether a program is one for such a machine.
//!
//! Reads the first bytes of ELF files (elf(5)) and Mach-O files (`mach-o/loader.h`), and runs nothing.

use std::fmt;

/// An operating system that agents run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Linux, whatever its C library.
    Linux,
    /// macOS.
    MacOs,
}

/// A processor that agents run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit Intel and AMD.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// What a program is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The system.
    pub system: System,
    /// The processor.
    pub machine: Machine,
}

/// What a file is, as its first bytes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A program for this platform.
    For {
        /// The platform.
        platform: Platform,
        /// What the system starts it with; `None` for one that needs nothing.
        interpreter: Option<String>,
    },
    /// A program for some other machine.
    Foreign,
    /// No program.
    Other,
}

/// Bytes of a file that [`Program::of`] looks at; linkers put all it asks for into the first page or two.
pub(super) const HEAD: usize = 64 * 1024;

impl Platform {
    /// Platforms that the published workflow builds agents for.
    pub const PUBLISHED: [Self; 2] = [
        Self { system: System::Linux, machine: Machine::X86_64 },
        Self { system: System::Linux, machine: Machine::Aarch64 },
    ];

    /// Returns the platform that `uname -s` and `uname -m` tell, when there can be an agent for it.
    pub fn told(system: &str, machine: &str) -> Option<Self> {
        let system = match system {
            "Linux" => System::Linux,
            "Darwin" => System::MacOs,
            _ => return None,
        };
        let machine = match machine {
            "x86_64" | "amd64" => Machine::X86_64,
            "aarch64" | "arm64" => Machine::Aarch64,
            _ => return None,
        };
        Some(Self { system, machine })
    }

    /// Returns the platform that this program is built for, when agents run there.
    pub fn own() -> Option<Self> {
        let system = match std::env::consts::OS {
            "linux" => "Linux",
            "macos" => "Darwin",
            other => other,
        };
        Self::told(system, std::env::consts::ARCH)
    }

    /// Returns the name that an agent for this platform has beside the sidecar and where it is downloaded from.
    pub fn file_name(self) -> &'static str {
        match (self.system, self.machine) {
            (System::Linux, Machine::X86_64) => "mlt-linux-x86_64",
            (System::Linux, Machine::Aarch64) => "mlt-linux-aarch64",
            (System::MacOs, Machine::X86_64) => "mlt-macos-x86_64",
            (System::MacOs, Machine::Aarch64) => "mlt-macos-aarch64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match (self.system, self.machine) {
            (System::Linux, Machine::X86_64) => "Linux x86_64",
            (System::Linux, Machine::Aarch64) => "Linux aarch64",
            (System::MacOs, Machine::X86_64) => "macOS x86_64",
            (System::MacOs, Machine::Aarch64) => "macOS aarch64",
        })
    }
}

impl Program {
    /// Tells from the first [`HEAD`] bytes of a file what it is.
    pub(super) fn of(head: &[u8]) -> Self {
        if head.starts_with(b"\x7fELF") {
            elf(head).unwrap_or(Self::Foreign)
        } else if head.starts_with(&[0xcf, 0xfa, 0xed, 0xfe]) {
            // `MH_MAGIC_64`; `cputype` follows.
            let machine = match number(head, 4, 4) {
                Some(0x0100_0007) => Machine::X86_64,
                Some(0x0100_000c) => Machine::Aarch64,
                Some(_) | None => return Self::Foreign,
            };
            Self::For { platform: Platform { system: System::MacOs, machine }, interpreter: None }
        } else {
            Self::Other
        }
    }

    /// Says what it is.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::For { platform, .. } => format!("a program for {platform}"),
            Self::Foreign => "a program for another machine".to_owned(),
            Self::Other => "no program".to_owned(),
        }
    }
}

/// Reads `e_ident`, `e_type`, `e_machine` and the program headers. `None` when it is none that could be ours.
fn elf(head: &[u8]) -> Option<Program> {
    const CLASS_64: u64 = 2;
    const LITTLE_ENDIAN: u64 = 1;
    /// `ET_EXEC` and `ET_DYN`: with fixed addresses, and with any.
    const RUNNABLE: [u64; 2] = [2, 3];
    const PT_INTERP: u64 = 3;
    /// Program headers of any sane program; they lie in [`HEAD`].
    const MAX_HEADERS: usize = 64;

    if number(head, 4, 1)? != CLASS_64 || number(head, 5, 1)? != LITTLE_ENDIAN {
        return None;
    }
    if !RUNNABLE.contains(&number(head, 16, 2)?) {
        return None;
    }
    let machine = match number(head, 18, 2)? {
        62 => Machine::X86_64,
        183 => Machine::Aarch64,
        _ => return None,
    };
    let first = usize::try_from(number(head, 32, 8)?).ok()?;
    let size = usize::try_from(number(head, 54, 2)?).ok()?;
    let count = usize::try_from(number(head, 56, 2)?).ok()?;
    let mut interpreter = None;
    for index in 0..count.min(MAX_HEADERS) {
        let header = first.checked_add(index.checked_mul(size)?)?;
        if number(head, header, 4)? != PT_INTERP {
            continue;
        }
        let start = usize::try_from(number(head, header.checked_add(8)?, 8)?).ok()?;
        let length = usize::try_from(number(head, header.checked_add(32)?, 8)?).ok()?;
        let path = head.get(start..start.checked_add(length)?)?;
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        interpreter = Some(String::from_utf8_lossy(path).into_owned());
    }
    Some(Program::For { platform: Platform { system: System::Linux, machine }, interpreter })
}

/// Returns the little-endian number of `length` bytes at `at`.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns the beginning of a program for Linux: `machine` is `e_machine`.
    pub(in super::super) fn elf_head(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut head = vec![0; 64 + 56];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[16] = 3;
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        let Some(path) = interpreter else { return head };
        head[64] = 3;
        head[64 + 8] = 120;
        head[64 + 32] = u8::try_from(path.len() + 1).expect("a short path");
        head.extend_from_slice(path.as_bytes());
        head.push(0);
        head
    }

    #[test]
    fn every_spelling_of_a_machine_is_known() {
        for (machine, name) in [
            ("x86_64", Some("mlt-linux-x86_64")),
            ("amd64", Some("mlt-linux-x86_64")),
            ("aarch64", Some("mlt-linux-aarch64")),
            ("arm64", Some("mlt-linux-aarch64")),
            ("armv7l", None),
            ("riscv64", None),
            ("", None),
        ] {
            assert_eq!(Platform::told("Linux", machine).map(Platform::file_name), name, "{machine}");
        }
        assert_eq!(Platform::told("FreeBSD", "amd64"), None);
        assert_eq!(Platform::told("Darwin", "arm64").map(Platform::file_name), Some("mlt-macos-aarch64"));
    }

    #[test]
    fn the_first_bytes_tell_what_a_program_is_for() {
        let [x86_64, aarch64] = Platform::PUBLISHED;
        let is = |platform, interpreter: Option<&str>| Program::For {
            platform,
            interpreter: interpreter.map(str::to_owned),
        };
        assert_eq!(Program::of(&elf_head(62, None)), is(x86_64, None));
        let loader = "/lib/ld-linux-aarch64.so.1";
        assert_eq!(Program::of(&elf_head(183, Some(loader))), is(aarch64, Some(loader)));
        assert_eq!(Program::of(&elf_head(40, None)), Program::Foreign, "32-bit ARM");
        assert_eq!(Program::of(b"<!DOCTYPE html>"), Program::Other);
        assert_eq!(Program::of(b""), Program::Other);
        assert_eq!(Program::of(&[0xcf, 0xfa, 0xed, 0xfe, 12, 0, 0, 1]).describe(), "a program for macOS aarch64");
    }

    #[test]
    fn no_beginning_of_a_program_is_too_short_or_too_wild() {
        let whole = elf_head(62, Some("/lib64/ld-linux-x86-64.so.2"));
        for length in 0..whole.len() {
            // Whatever is cut off, an answer comes, and never another platform.
            let program = Program::of(&whole[..length]);
            assert!(matches!(program, Program::Other | Program::Foreign), "{length}: {program:?}");
        }
        for at in 0..whole.len() {
            let mut wild = whole.clone();
            wild[at] = 0xff;
            Program::of(&wild);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_program_is_for_this_machine() {
        let mut head = std::fs::read("/proc/self/exe").expect("this program");
        head.truncate(HEAD);
        let Program::For { platform, .. } = Program::of(&head) else { panic!("this program runs") };
        assert_eq!(Some(platform), Platform::own());
    }
}
