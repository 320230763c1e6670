//! The two files of an agent's mirror with any records in them, sealed as our own would be, or as they come: what they
//! say of a real folder is bounded, and once they were read they are read alike again.
#![no_main]

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use agent::files::Root;
use libfuzzer_sys::fuzz_target;
use protocol::agent::{Holder, Open};
use protocol::mirror::{MAX_NAMED, Summarise, Summary};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::Hash;

const HOLDER: &str = "fuzz";
const EPOCH: &str = "an epoch";

/// Opens the root that is asked; its side directory stands beside it.
fn open(place: &Path) -> (Root, String) {
    let text = place.join("root").to_str().expect("a text path").to_owned();
    let holder = Holder { id: HOLDER.to_owned(), label: HOLDER.to_owned() };
    let open = Open { path: RemotePath::new(text).expect("a path"), create: true, holder, take_over: false };
    let (root, opened) = Root::open(1, &open).expect("a root of our own");
    (root, opened.copy)
}

/// Returns a block: its length, eight bytes of a hash over epoch and payload, the payload.
fn sealed(epoch: &str, payload: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(epoch.as_bytes()).update(payload);
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    let length = u32::try_from(payload.len()).expect("small").to_le_bytes();
    [length.as_slice(), &check, payload].concat()
}

fn header(copy: &str) -> Vec<u8> {
    sealed("", &postcard::to_stdvec(&(1_u32, copy, HOLDER, EPOCH, false)).expect("plain data"))
}

struct Bed {
    place: PathBuf,
    header: Vec<u8>,
}

impl Bed {
    fn new() -> Self {
        let place = std::env::temp_dir().join(format!("mltoolbox-fuzz-mirror-{}", std::process::id()));
        fs::create_dir_all(place.join("root/folder")).expect("a folder of our own");
        for name in ["a", "folder/b"] {
            fs::write(place.join("root").join(name), name).expect("a folder of our own");
        }
        let (root, copy) = open(&place);
        root.close();
        let bed = Self { place, header: header(&copy) };
        // A header that is not understood would let every input pass unread.
        bed.write("mirror.log", &bed.header);
        drop(bed.ask());
        let kept = fs::read(bed.side().join("mirror.log")).expect("it is there");
        assert!(kept.starts_with(&bed.header), "the header of a mirror is another one by now");
        bed
    }

    fn side(&self) -> PathBuf {
        self.place.join(".root.mltoolbox")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.side().join(name), bytes).expect("a folder of our own");
    }

    fn ask(&self) -> Vec<Summary> {
        let (root, _) = open(&self.place);
        let folders = [None, Some("folder"), Some("other")]
            .map(|name| (name.map(|name| RelPath::new(name).expect("a name")), Hash([0; 32])));
        let asked =
            Summarise { root: 1, folders: folders.to_vec(), forget: vec![RelPath::new("gone").expect("a name")] };
        let said = root.summarise(&asked).expect("the root is in its place");
        root.close();
        said
    }
}

thread_local! {
    static BED: OnceCell<Bed> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, records)) = input.split_first() else { return };
    BED.with(|bed| {
        let bed = bed.get_or_init(Bed::new);
        let (log, sorted) = records.split_at((usize::from(*cut) * records.len() / 255).min(records.len()));
        // The last bit says whether the seals are right.
        let whole = |payload: &[u8]| {
            let body = if cut % 2 == 0 { sealed(EPOCH, payload) } else { payload.to_vec() };
            [bed.header.as_slice(), &body].concat()
        };
        bed.write("mirror.log", &whole(log));
        if sorted.is_empty() {
            fs::remove_file(bed.side().join("mirror")).ok();
        } else {
            bed.write("mirror", &whole(sorted));
        }
        let said = bed.ask();
        assert_eq!(said.len(), 3, "an answer for each folder");
        for summary in &said {
            match summary {
                Summary::Different(entries) => assert!(entries.len() <= MAX_NAMED),
                Summary::Changed(paths) => assert!(paths.len() <= MAX_NAMED),
                Summary::Same | Summary::Unknown => {}
            }
        }
        // What could not be read is thrown away, and what could was put in order: either is final.
        let again = bed.ask();
        assert_eq!(again, bed.ask(), "read twice, it says two things");
    });
});
