//! JSON Web Tokens (RFC 7519): the `jsonwebtoken` crate, with the cryptography of `ring`.

mod provider;

use std::sync::Once;

use serde::{Serialize, de::DeserializeOwned};

pub use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, dangerous, errors,
};

/// Makes a token with this header and these claims, signed by the header's algorithm.
pub fn encode<T: Serialize>(
    header: &Header,
    claims: &T,
    key: &EncodingKey,
) -> errors::Result<String> {
    install();
    jsonwebtoken::encode(header, claims, key)
}

/// Reads a token that passes the validation, signature first.
pub fn decode<T: DeserializeOwned + Clone>(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> errors::Result<TokenData<T>> {
    install();
    jsonwebtoken::decode(token, key, validation)
}

/// Signs a message; the signature in base64url.
pub fn sign(message: &[u8], key: &EncodingKey, algorithm: Algorithm) -> errors::Result<String> {
    install();
    jsonwebtoken::crypto::sign(message, key, algorithm)
}

/// Returns whether a signature in base64url is one of this message by this key.
pub fn verify(
    signature: &str,
    message: &[u8],
    key: &DecodingKey,
    algorithm: Algorithm,
) -> errors::Result<bool> {
    install();
    jsonwebtoken::crypto::verify(signature, message, key, algorithm)
}

/// Makes ring the provider of this process, unless it has one: `jsonwebtoken` looks for it at each call.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // A provider that the program has installed itself stays.
        let _ = provider::RING.install_default();
    });
}

#[cfg(test)]
mod tests;
