//! Which tokens are taken.

mod tokens;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imago_kit::jwt::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{jwt::DEFAULT_LEEWAY, *};
use crate::tests::support::{JWT_SECRET, login};

/// A token whose signature another implementation of RFC 7519 has made.
const CHECK_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJhY2MiOiJ0ZXN0MSIsImFwcCI6ImtpbSIsImV4cCI6NDEwMjQ0NDgwMH0.\
    T85_Y8zvU-ekcFpZZLmP4RB6CjLK2Xlj274wAVxanlg";
pub(super) const FUTURE: u64 = 4_102_444_800;

/// Has an authenticator check a login request.
pub(super) async fn check(jwt: &JwtAuthenticator, login: &LoginReq) -> Result<Identity, AuthError> {
    let remote = SocketAddr::from(([127, 0, 0, 1], 1)).into();
    jwt.authenticate(&Credentials::new(login, &remote)).await
}

async fn authenticate(token: &str) -> Result<Identity, AuthError> {
    let jwt = JwtAuthenticator::new(JWT_SECRET.as_bytes(), &[HmacAlgorithm::Hs256]);
    check(&jwt, &login(token)).await.and_then(Identity::checked)
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, JWT_SECRET, claims)
}

/// The token with another header; what a forger does who knows no secret.
fn with_header(header: &str, token: &str) -> String {
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", base64_url(header.as_bytes()))
}

fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0, |n, i| n << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        for i in 0..=three.len() as u32 {
            text.push(ALPHABET[(number >> (18 - 6 * i) & 63) as usize].into());
        }
    }
    text
}

#[tokio::test]
async fn the_check_token_is_taken() {
    let identity = authenticate(CHECK_TOKEN).await.unwrap();
    assert_eq!((identity.account.as_str(), identity.app.as_str()), ("test1", "kim"));
    assert_eq!(identity.device, "");
    let token = hs256(&json!({ "acc": "a", "app": "b", "exp": FUTURE, "device": "phone" }));
    assert_eq!(authenticate(&token).await.unwrap().device, "phone");
}

#[tokio::test]
async fn a_client_names_its_device_where_its_token_does_not() {
    let on = async |token: &str, device: &str| {
        let login = LoginReq { device: device.to_owned(), ..login(token) };
        let jwt = JwtAuthenticator::new(JWT_SECRET.as_bytes(), &[HmacAlgorithm::Hs256]);
        let identity = check(&jwt, &login).await.and_then(Identity::checked);
        identity.map(|identity| identity.device)
    };
    let bound = hs256(&json!({ "acc": "a", "app": "b", "exp": FUTURE, "device": "phone" }));
    assert_eq!(on(CHECK_TOKEN, "tablet:1").await.unwrap(), "tablet:1");
    assert_eq!(on(&bound, "phone").await.unwrap(), "phone");
    let error = on(&bound, "tablet:1").await.unwrap_err();
    assert_eq!(error.to_string(), "device: the token is for another one");
    let long = "é".repeat(60);
    assert_eq!(on(CHECK_TOKEN, &long).await.unwrap(), long);
    let error = on(CHECK_TOKEN, &"é".repeat(61)).await.unwrap_err();
    assert!(error.to_string().contains("device"), "{error}");
}

#[tokio::test]
async fn the_algorithm_is_ours_to_choose_not_the_tokens() {
    let claims = json!({ "acc": "test1", "app": "kim", "exp": FUTURE });
    assert!(authenticate(&signed(Algorithm::HS512, JWT_SECRET, &claims)).await.is_err());
    for name in ["none", "None", "RS256", "ES256", "HS384", ""] {
        let header = format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
        let forged = with_header(&header, CHECK_TOKEN);
        assert!(authenticate(&forged).await.is_err(), "{name}");
        let unsigned = format!("{}.", forged.rsplit_once('.').unwrap().0);
        assert!(authenticate(&unsigned).await.is_err(), "{name} unsigned");
    }

    let both =
        JwtAuthenticator::new(JWT_SECRET.as_bytes(), &[HmacAlgorithm::Hs256, HmacAlgorithm::Hs512]);
    let token = signed(Algorithm::HS512, JWT_SECRET, &claims);
    assert!(check(&both, &login(&token)).await.is_ok(), "allowed by the configuration");
}

#[tokio::test]
async fn the_check_header_is_what_the_forger_starts_from() {
    let again = with_header(r#"{"alg":"HS256","typ":"JWT"}"#, CHECK_TOKEN);
    assert_eq!(again, CHECK_TOKEN);
}

#[tokio::test]
async fn wrong_secrets_and_claims_are_refused_without_the_token_in_the_words() {
    let long = "x".repeat(ACCOUNT_MAX + 1);
    for token in [
        signed(
            Algorithm::HS256,
            "another secret of this length",
            &json!({ "acc": "a", "app": "b", "exp": FUTURE }),
        ),
        hs256(&json!({ "acc": "a", "app": "b" })),
        hs256(&json!({ "acc": "a", "app": "b", "exp": 1 })),
        hs256(&json!({ "acc": "", "app": "b", "exp": FUTURE })),
        hs256(&json!({ "acc": "a", "app": "", "exp": FUTURE })),
        hs256(&json!({ "acc": long, "app": "b", "exp": FUTURE })),
        hs256(&json!({ "acc": "a\nb", "app": "b", "exp": FUTURE })),
        hs256(&json!({ "acc": "a", "app": "b", "device": long, "exp": FUTURE })),
        hs256(&json!({ "app": "b", "exp": FUTURE })),
        hs256(&json!({ "acc": 7, "app": "b", "exp": FUTURE })),
        String::new(),
        "..".to_owned(),
        "no token".to_owned(),
    ] {
        let why = authenticate(&token).await.unwrap_err().to_string();
        assert!(token.is_empty() || token == ".." || !why.contains(&token), "{why}");
    }
}

#[tokio::test]
async fn an_account_may_have_as_many_characters_as_the_wire_allows() {
    let longest = "ä".repeat(ACCOUNT_MAX);
    let token = hs256(&json!({ "acc": longest, "app": "b", "exp": FUTURE }));
    assert_eq!(authenticate(&token).await.unwrap().account.as_str(), longest);
}
