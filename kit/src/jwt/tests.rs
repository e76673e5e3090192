//! Vectors of the RFCs, and what each algorithm signs.

use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RsaKeyPair,
    },
};

use super::*;

/// The claims of RFC 7515, Appendix A.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
/// A private key of this test alone, as PKCS #1 has it: ring makes none.
const RSA: &[u8] = include_bytes!("test_rsa.der");

/// Whether the key verifies the signature of `header.claims`, and of nothing else.
fn holds(header: &str, claims: &str, signature: &str, key: &DecodingKey, by: Algorithm) -> bool {
    let message = format!("{header}.{claims}");
    let other = format!("{header}.{claims}x");
    assert!(!verify(signature, other.as_bytes(), key, by).unwrap_or(false));
    verify(signature, message.as_bytes(), key, by).unwrap_or(false)
}

#[test]
fn hmac_signs_and_verifies_as_rfc_7515_a_1_has_it() {
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    let expected = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    // The crate reads ordinary base64 here.
    let secret = format!("{}==", secret.replace('-', "+").replace('_', "/"));
    let key = EncodingKey::from_base64_secret(&secret).unwrap();
    let message = format!("{header}.{CLAIMS}");
    assert_eq!(sign(message.as_bytes(), &key, Algorithm::HS256).unwrap(), expected);
    let key = DecodingKey::from_base64_secret(&secret).unwrap();
    assert!(holds(header, CLAIMS, expected, &key, Algorithm::HS256));
    assert!(!holds(header, CLAIMS, &expected[1..], &key, Algorithm::HS256));
    assert!(!holds(header, CLAIMS, expected, &key, Algorithm::HS512));
}

#[test]
fn public_keys_verify_the_signatures_of_rfc_7515_and_rfc_8037() {
    let rsa = DecodingKey::from_rsa_components(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "AQAB",
    );
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let header = "eyJhbGciOiJSUzI1NiJ9";
    assert!(holds(header, CLAIMS, signature, &rsa.unwrap(), Algorithm::RS256));

    let ec = DecodingKey::from_ec_components(
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    );
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(holds("eyJhbGciOiJFUzI1NiJ9", CLAIMS, signature, &ec.unwrap(), Algorithm::ES256));

    let ed = DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let (header, claims) = ("eyJhbGciOiJFZERTQSJ9", "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
    assert!(holds(header, claims, signature, &ed.unwrap(), Algorithm::EdDSA));
}

/// A pair of keys for an algorithm.
fn pair(algorithm: Algorithm) -> (EncodingKey, DecodingKey) {
    let random = SystemRandom::new();
    let ec = |signing| {
        let private = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, private.as_ref(), &random).unwrap();
        let public = DecodingKey::from_ec_der(pair.public_key().as_ref());
        (EncodingKey::from_ec_der(private.as_ref()), public)
    };
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            (EncodingKey::from_secret(b"sesame"), DecodingKey::from_secret(b"sesame"))
        }
        Algorithm::ES256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::EdDSA => {
            let private = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
            let public = DecodingKey::from_ed_der(pair.public_key().as_ref());
            (EncodingKey::from_ed_der(private.as_ref()), public)
        }
        _ => {
            let pair = RsaKeyPair::from_der(RSA).unwrap();
            let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
            (EncodingKey::from_rsa_der(RSA), public)
        }
    }
}

#[test]
fn what_an_algorithm_signs_it_verifies_and_no_other_one_does() {
    use Algorithm::{
        ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512,
    };
    let all = [HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
    for algorithm in all {
        let (private, public) = pair(algorithm);
        let signature = sign(b"message", &private, algorithm).unwrap();
        for by in all {
            let verified = verify(&signature, b"message", &public, by).unwrap_or(false);
            assert_eq!(verified, by == algorithm, "{algorithm:?} by {by:?}");
        }
    }
}

#[test]
fn a_key_of_another_family_neither_signs_nor_verifies() {
    // The attack of RFC 8725, section 2.1: a public key, which all know, as the secret of HMAC.
    let (private, public) = pair(Algorithm::RS256);
    assert!(sign(b"message", &private, Algorithm::HS256).is_err());
    assert!(verify("", b"message", &public, Algorithm::HS256).is_err());
    let secret = EncodingKey::from_secret(b"sesame");
    assert!(sign(b"message", &secret, Algorithm::EdDSA).is_err());
    let broken = EncodingKey::from_rsa_der(&[0]);
    assert!(sign(b"message", &broken, Algorithm::RS256).is_err());
}

#[test]
fn a_token_is_read_as_it_was_made() {
    let (private, public) = pair(Algorithm::ES384);
    let token = encode(&Header::new(Algorithm::ES384), &[("exp", u64::MAX)], &private);
    // Claims are an object.
    assert!(decode::<serde_json::Value>(&token.unwrap(), &public, &es384()).is_err());
    let claims = serde_json::json!({ "acc": "alice", "exp": 9_999_999_999_u64 });
    let token = encode(&Header::new(Algorithm::ES384), &claims, &private).unwrap();
    assert_eq!(decode::<serde_json::Value>(&token, &public, &es384()).unwrap().claims, claims);
}

fn es384() -> Validation {
    Validation::new(Algorithm::ES384)
}
