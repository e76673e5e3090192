//! What `jsonwebtoken` asks of a provider, by ring: signers and verifiers of all its algorithms.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature::{Error, Signer, Verifier},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{self as ring_sig, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, UnparsedPublicKey},
};

/// Signs and verifies with ring. Keys are not turned into JWKs: that is refused.
pub(super) static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(RingSigner::new(*algorithm, key)?)),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier::new(*algorithm, key)?)),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| unsupported(),
        rsa_pub_components_from_public_key: |_| unsupported(),
        ec_pub_components_from_private_key: |_, _| unsupported(),
        ed_pub_components_from_private_key: |_, _| unsupported(),
        compute_digest: |_, _| unsupported(),
    },
};

fn unsupported<T>() -> Result<T> {
    Err(ErrorKind::InvalidKeyFormat.into())
}

/// A key that signs, read.
enum SigningKey {
    Hmac(hmac::Key),
    Rsa(RsaKeyPair, &'static dyn ring_sig::RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

struct RingSigner {
    algorithm: Algorithm,
    key: SigningKey,
}

/// A key that verifies.
enum VerifyingKey {
    Hmac(hmac::Key),
    /// A public key in the form that its algorithm has in DER.
    Public(&'static dyn ring_sig::VerificationAlgorithm, Vec<u8>),
    /// Modulus and exponent of an RSA key, as JWKs have them.
    Components(&'static ring_sig::RsaParameters, ring_sig::RsaPublicKeyComponents<Vec<u8>>),
}

struct RingVerifier {
    algorithm: Algorithm,
    key: VerifyingKey,
}

// === impl RingSigner ===

impl RingSigner {
    fn new(algorithm: Algorithm, key: &EncodingKey) -> Result<Self> {
        // A key of another family would be misread, or be a public key that serves as a secret.
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let bytes = key.as_bytes();
        let key = match algorithm.family() {
            AlgorithmFamily::Hmac => SigningKey::Hmac(hmac_key(algorithm, bytes)?),
            AlgorithmFamily::Rsa => {
                let pair = RsaKeyPair::from_der(bytes)
                    .map_err(|error| ErrorKind::InvalidRsaKey(error.to_string()))?;
                SigningKey::Rsa(pair, rsa_encoding(algorithm)?)
            }
            AlgorithmFamily::Ec => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(ec_signing(algorithm)?, bytes, &SystemRandom::new());
                SigningKey::Ec(pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?)
            }
            AlgorithmFamily::Ed => {
                // Keys by OpenSSL come without the public half.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes);
                SigningKey::Ed(pair.map_err(|_| ErrorKind::InvalidEddsaKey)?)
            }
        };
        Ok(Self { algorithm, key })
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        match &self.key {
            SigningKey::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            SigningKey::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| Error::new())?;
                Ok(signature)
            }
            SigningKey::Ec(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message);
                Ok(signature.map_err(|_| Error::new())?.as_ref().to_vec())
            }
            SigningKey::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

// === impl RingVerifier ===

impl RingVerifier {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let key = match (algorithm.family(), key.kind()) {
            (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => {
                VerifyingKey::Hmac(hmac_key(algorithm, secret)?)
            }
            (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let components = ring_sig::RsaPublicKeyComponents { n: n.clone(), e: e.clone() };
                VerifyingKey::Components(rsa_parameters(algorithm)?, components)
            }
            (_, DecodingKeyKind::SecretOrDer(public)) => {
                VerifyingKey::Public(verification(algorithm)?, public.clone())
            }
            _ => return Err(ErrorKind::InvalidKeyFormat.into()),
        };
        Ok(Self { algorithm, key })
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match &self.key {
            // In constant time.
            VerifyingKey::Hmac(key) => hmac::verify(key, message, signature),
            VerifyingKey::Public(algorithm, public) => {
                UnparsedPublicKey::new(*algorithm, public).verify(message, signature)
            }
            VerifyingKey::Components(parameters, key) => key.verify(parameters, message, signature),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn hmac_key(algorithm: Algorithm, secret: &[u8]) -> Result<hmac::Key> {
    let hash = match algorithm {
        Algorithm::HS256 => hmac::HMAC_SHA256,
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(hmac::Key::new(hash, secret))
}

fn rsa_encoding(algorithm: Algorithm) -> Result<&'static dyn ring_sig::RsaEncoding> {
    Ok(match algorithm {
        Algorithm::RS256 => &ring_sig::RSA_PKCS1_SHA256,
        Algorithm::RS384 => &ring_sig::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &ring_sig::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &ring_sig::RSA_PSS_SHA256,
        Algorithm::PS384 => &ring_sig::RSA_PSS_SHA384,
        Algorithm::PS512 => &ring_sig::RSA_PSS_SHA512,
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    })
}

fn rsa_parameters(algorithm: Algorithm) -> Result<&'static ring_sig::RsaParameters> {
    Ok(match algorithm {
        Algorithm::RS256 => &ring_sig::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &ring_sig::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &ring_sig::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &ring_sig::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &ring_sig::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &ring_sig::RSA_PSS_2048_8192_SHA512,
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    })
}

fn ec_signing(algorithm: Algorithm) -> Result<&'static ring_sig::EcdsaSigningAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Ok(&ring_sig::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ES384 => Ok(&ring_sig::ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// The algorithm that verifies by a public key in DER.
fn verification(algorithm: Algorithm) -> Result<&'static dyn ring_sig::VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Ok(&ring_sig::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Ok(&ring_sig::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Ok(&ring_sig::ED25519),
        other => Ok(rsa_parameters(other)?),
    }
}
