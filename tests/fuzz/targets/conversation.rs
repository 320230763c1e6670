//! A peer that says anything at all: hello, then frames.
#![no_main]

use agent::wire::FrameReader;
use libfuzzer_sys::fuzz_target;
use protocol::frame::Kind;
use protocol::hello::MAGIC;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    // The mark is eight bytes that no fuzzer finds by itself in good time.
    let said = [MAGIC.as_slice(), bytes].concat();
    runtime.block_on(async {
        let mut reader = FrameReader::new(said.as_slice());
        if reader.skip_to_magic().await.is_err() {
            return;
        }
        let mut read = 0;
        while let Ok(frame) = reader.next().await {
            assert_ne!((frame.kind, frame.payload.is_empty()), (Kind::Cancel, false));
            read += frame.payload.len();
        }
        assert!(read <= said.len(), "more came than went");
    });
});
