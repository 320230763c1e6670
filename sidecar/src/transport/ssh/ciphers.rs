//! Which ciphers are offered, the cheapest for this processor first.

use russh::cipher;

/// Returns the ciphers in the order of what they cost here.
pub(in crate::transport) fn preferred() -> Vec<cipher::Name> {
    order(has_fast_aes())
}

/// Returns the ciphers by cost.
fn order(fast_aes: bool) -> Vec<cipher::Name> {
    let gcm = [cipher::AES_128_GCM, cipher::AES_256_GCM];
    let others = [cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];
    let mut ciphers = Vec::from(gcm);
    ciphers.insert(if fast_aes { gcm.len() } else { 0 }, cipher::CHACHA20_POLY1305);
    ciphers.extend(others);
    ciphers
}

/// Returns whether the processor computes AES itself.
fn has_fast_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        std::arch::is_x86_feature_detected!("aes")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes")
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_comes_first_where_it_is_fast() {
        assert_eq!(order(true)[..3], [cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305]);
        assert_eq!(order(false)[0], cipher::CHACHA20_POLY1305);
    }
}
