//! Requests, replies and trailers of a hostile peer: what is decoded encodes to a message again, and no path leads out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::agent::{Reply, Request, Trailer};
use protocol::path::RelPath;
use protocol::sync::Action;

fn is_inside(path: &RelPath) -> bool {
    let text = path.as_str();
    !text.is_empty() && text.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains('\0'))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 3 {
        0 => {
            let Ok(request) = postcard::from_bytes::<Request>(bytes) else { return };
            if let Request::Apply(apply) = &request {
                for op in &apply.ops {
                    assert!(is_inside(&op.path));
                    if let Action::Move { from, .. } | Action::Copy { from, .. } = &op.action {
                        assert!(is_inside(from));
                    }
                }
            }
            let again = postcard::to_stdvec(&request).expect("a request is plain data");
            assert_eq!(postcard::from_bytes::<Request>(&again).expect("our own words"), request);
        }
        1 => {
            let Ok(reply) = postcard::from_bytes::<Reply>(bytes) else { return };
            let again = postcard::to_stdvec(&reply).expect("a reply is plain data");
            assert_eq!(postcard::from_bytes::<Reply>(&again).expect("our own words"), reply);
        }
        _ => drop(postcard::from_bytes::<Trailer>(bytes)),
    }
});
