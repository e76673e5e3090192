//! Tokens and verdicts, each with its reason: RFC 7519 (claims), RFC 7515 (headers), RFC 8725.

use super::*;

/// What a gateway is configured with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rules {
    Default,
    /// An audience and an issuer.
    Named,
    /// No leeway.
    Exact,
}
use Rules::{Default, Exact, Named};

/// Why, the header, the claims and the word that the refusal has to have; none where the token is taken.
/// `@5` stands for the time in 5 s.
type Row = (&'static str, Rules, &'static str, &'static str, Option<&'static str>);

const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn jwt(rules: Rules) -> JwtAuthenticator {
    let jwt = JwtAuthenticator::new(JWT_SECRET.as_bytes(), &[HmacAlgorithm::Hs256]);
    match rules {
        Default => jwt,
        Named => jwt.audience(["chat", "https://chat.example"]).issuer(["id.example"]),
        Exact => jwt.leeway(Duration::ZERO),
    }
}

#[rustfmt::skip]
const TIMES: &[Row] = &[
    ("7519 §4.1.4 in time", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60}"#, None),
    ("ours: a token must end", Default, HEAD, r#"{"acc":"a","app":"b"}"#, Some("exp")),
    ("7519 §4.1.4 past", Default, HEAD, r#"{"acc":"a","app":"b","exp":@-60}"#, Some("exp")),
    ("7519 §4.1.4 a small leeway", Default, HEAD, r#"{"acc":"a","app":"b","exp":@-2}"#, None),
    ("7519 §4.1.4 or none", Exact, HEAD, r#"{"acc":"a","app":"b","exp":@-2}"#, Some("exp")),
    ("7519 §4.1.4 on or after", Exact, HEAD, r#"{"acc":"a","app":"b","exp":@0}"#, Some("exp")),
    ("7519 §2 a fraction is a time", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60.75}"#, None),
    ("7519 §2 with an exponent, too", Default, HEAD, r#"{"acc":"a","app":"b","exp":4.1e9}"#, None),
    ("7519 §2 the last that fits", Default, HEAD, r#"{"acc":"a","app":"b","exp":9223372036854775807}"#, None),
    ("7519 §2 a time before 1970 is past", Default, HEAD, r#"{"acc":"a","app":"b","exp":-1}"#, Some("exp")),
    ("beyond every clock", Default, HEAD, r#"{"acc":"a","app":"b","exp":9223372036854775808}"#, Some("exp")),
    ("beyond every number of 64 bits", Default, HEAD, r#"{"acc":"a","app":"b","exp":99999999999999999999}"#, Some("exp")),
    ("far beyond", Default, HEAD, r#"{"acc":"a","app":"b","exp":1e300}"#, Some("exp")),
    ("8259 §6 no number", Default, HEAD, r#"{"acc":"a","app":"b","exp":1e999}"#, Some("claims")),
    ("8259 §6 neither", Default, HEAD, r#"{"acc":"a","app":"b","exp":NaN}"#, Some("claims")),
    ("7519 §4.1.4 a number", Default, HEAD, r#"{"acc":"a","app":"b","exp":"4102444800"}"#, Some("exp")),
    ("7519 §4.1.4 not nothing", Default, HEAD, r#"{"acc":"a","app":"b","exp":null}"#, Some("exp")),
    ("7519 §4.1.4 not a truth", Default, HEAD, r#"{"acc":"a","app":"b","exp":true}"#, Some("exp")),
    ("7519 §4.1.4 not a list", Default, HEAD, r#"{"acc":"a","app":"b","exp":[@60]}"#, Some("exp")),
    ("7519 §4 once", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"exp":@60}"#, Some("exp")),
    ("7519 §4.1.5 past", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":@-60}"#, None),
    ("7519 §4.1.5 just now", Exact, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":@0}"#, None),
    ("7519 §4.1.5 to come", Default, HEAD, r#"{"acc":"a","app":"b","exp":@99,"nbf":@60}"#, Some("nbf")),
    ("7519 §4.1.5 a small leeway", Default, HEAD, r#"{"acc":"a","app":"b","exp":@99,"nbf":@3}"#, None),
    ("7519 §4.1.5 or none", Exact, HEAD, r#"{"acc":"a","app":"b","exp":@99,"nbf":@3}"#, Some("nbf")),
    ("7519 §4.1.5 to come, in fractions", Default, HEAD, r#"{"acc":"a","app":"b","exp":@99,"nbf":@60.5}"#, Some("nbf")),
    ("7519 §4.1.5 before 1970", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":-1}"#, None),
    ("7519 §4.1.5 a number", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":"1"}"#, Some("nbf")),
    ("7519 §4.1.5 not nothing", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":null}"#, Some("nbf")),
    ("7519 §4.1.5 far beyond", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":1e300}"#, Some("nbf")),
    ("7519 §4.1.5 as far in the past", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":-1e300}"#, Some("nbf")),
    ("7519 §4 once", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"nbf":1,"nbf":1}"#, Some("nbf")),
    ("7519 §4.1.6 past", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iat":@-60}"#, None),
    ("7519 §4.1.6 tells an age, and refuses nothing", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iat":@30}"#, None),
    ("7519 §4.1.6 a number", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iat":"1"}"#, Some("iat")),
    ("7519 §4.1.6 not nothing", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iat":null}"#, Some("iat")),
];

#[rustfmt::skip]
const NAMES: &[Row] = &[
    ("7519 §4.1.3 a gateway without a name is none of any audience", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"aud":"chat"}"#, Some("aud")),
    ("7519 §4.1.3 nor of several", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"aud":["chat","mail"]}"#, Some("aud")),
    ("7519 §4.1.3 nor of an empty list", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"aud":[]}"#, Some("aud")),
    ("7519 §4.1.3 nor of nothing", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"aud":null}"#, Some("aud")),
    ("7519 §4.1.3 for us", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":"chat"}"#, None),
    ("7519 §4.1.3 for another name of ours", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":"https://chat.example"}"#, None),
    ("7519 §4.1.3 for us among others", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":["mail","chat"]}"#, None),
    ("7519 §4.1.3 for another", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":"mail"}"#, Some("aud")),
    ("7519 §4.1.3 for others", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":["mail","files"]}"#, Some("aud")),
    ("7519 §2 names are case-sensitive", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":"Chat"}"#, Some("aud")),
    ("7519 §4.1.3 a part of our name", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":"cha"}"#, Some("aud")),
    ("7519 §4.1.3 for nobody", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":[]}"#, Some("aud")),
    ("8725 §3.9 for whom it does not say", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example"}"#, Some("aud")),
    ("7519 §4.1.3 a number is no name", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":7}"#, Some("aud")),
    ("7519 §4.1.3 nor in a list", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":["chat",7]}"#, Some("aud")),
    ("7519 §4 once", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"id.example","aud":"mail","aud":"chat"}"#, Some("aud")),
    ("7519 §4.1.1 any issuer", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"anybody"}"#, None),
    ("7519 §4.1.1 a number is no name", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":7}"#, Some("iss")),
    ("8725 §3.8 by another", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":"evil.example","aud":"chat"}"#, Some("iss")),
    ("8725 §3.8 by whom it does not say", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"aud":"chat"}"#, Some("iss")),
    ("7519 §4.1.1 one, not several", Named, HEAD, r#"{"acc":"a","app":"b","exp":@60,"iss":["id.example"],"aud":"chat"}"#, Some("iss")),
];

#[rustfmt::skip]
const CLAIMS: &[Row] = &[
    ("wire §4 a device", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"device":"phone"}"#, None),
    ("wire §4 no device", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"device":""}"#, None),
    ("wire §4 an account", Default, HEAD, r#"{"app":"b","exp":@60}"#, Some("acc")),
    ("wire §4 a text", Default, HEAD, r#"{"acc":7,"app":"b","exp":@60}"#, Some("acc")),
    ("wire §4 a tenant", Default, HEAD, r#"{"acc":"a","exp":@60}"#, Some("app")),
    ("wire §4 a text", Default, HEAD, r#"{"acc":"a","app":["b"],"exp":@60}"#, Some("app")),
    ("wire §4 a text", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"device":null}"#, Some("device")),
    ("7519 §4 once", Default, HEAD, r#"{"acc":"a","acc":"root","app":"b","exp":@60}"#, Some("acc")),
    ("7519 §4 names are case-sensitive", Default, HEAD, r#"{"Acc":"a","app":"b","exp":@60}"#, Some("acc")),
    ("7519 §4 what is not known is ignored", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"sub":7,"jti":[],"roles":{"x":[null]}}"#, None),
    ("7519 §4 even twice", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60,"x":1,"x":2}"#, None),
    ("7519 §7.2 10 an object", Default, HEAD, r#"["a","b",4102444800]"#, Some("claims")),
    ("7519 §7.2 10 not a text", Default, HEAD, r#""acc""#, Some("claims")),
    ("7519 §7.2 10 not nothing", Default, HEAD, "", Some("claims")),
    ("7519 §7.2 10 and no more", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60}{}"#, Some("claims")),
    ("7519 §7.2 10 in whole", Default, HEAD, r#"{"acc":"a","app":"b","exp":@60"#, Some("claims")),
    ("7519 §7.2 10 with white space", Default, HEAD, " {\"acc\":\"a\",\n\"app\":\"b\",\"exp\":@60} ", None),
    ("8259 §8.1 without a byte order mark", Default, HEAD, "\u{feff}{\"acc\":\"a\",\"app\":\"b\",\"exp\":@60}", Some("claims")),
];

#[rustfmt::skip]
const HEADERS: &[Row] = &[
    ("7519 §5.1 typ may be left away", Default, r#"{"alg":"HS256"}"#, OK, None),
    ("7515 §4.1.9 a media type in any case", Default, r#"{"alg":"HS256","typ":"jwt"}"#, OK, None),
    ("7515 §4.1.9 in full", Default, r#"{"alg":"HS256","typ":"application/JWT"}"#, OK, None),
    ("9068 §2.1 an access token", Default, r#"{"alg":"HS256","typ":"at+jwt"}"#, OK, None),
    ("8725 §3.11 a token of another kind", Default, r#"{"alg":"HS256","typ":"secevent+jwt"}"#, OK, Some("typ")),
    ("7515 §4.1.9 no JWT", Default, r#"{"alg":"HS256","typ":"JOSE+JSON"}"#, OK, Some("typ")),
    ("7515 §4.1.9 a text", Default, r#"{"alg":"HS256","typ":7}"#, OK, Some("typ")),
    ("7515 §4.1.9 not nothing", Default, r#"{"alg":"HS256","typ":null}"#, OK, Some("typ")),
    ("7515 §4.1.11 what is critical is not known", Default, r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, OK, Some("crit")),
    ("7515 §4.1.11 not even this", Default, r#"{"alg":"HS256","crit":["b64"],"b64":true}"#, OK, Some("crit")),
    ("7515 §4.1.11 not a name of the RFC", Default, r#"{"alg":"HS256","crit":["alg"]}"#, OK, Some("crit")),
    ("7515 §4.1.11 not an empty list", Default, r#"{"alg":"HS256","crit":[]}"#, OK, Some("crit")),
    ("7515 §4.1.11 not a text", Default, r#"{"alg":"HS256","crit":"exp"}"#, OK, Some("crit")),
    ("7515 §4.1.11 not nothing", Default, r#"{"alg":"HS256","crit":null}"#, OK, Some("crit")),
    ("7797 §7 a payload that is not encoded", Default, r#"{"alg":"HS256","b64":false}"#, OK, Some("b64")),
    ("7797 §3 the default", Default, r#"{"alg":"HS256","b64":true}"#, OK, None),
    ("8725 §3.1 none", Default, r#"{"alg":"none"}"#, OK, Some("alg")),
    ("8725 §2.1 in any case", Default, r#"{"alg":"nOnE"}"#, OK, Some("alg")),
    ("7515 §4.1.1 names are case-sensitive", Default, r#"{"alg":"hs256"}"#, OK, Some("alg")),
    ("7515 §4.1.1 a text", Default, r#"{"alg":["HS256"]}"#, OK, Some("alg")),
    ("7515 §4.1.1 one must be there", Default, r#"{"typ":"JWT"}"#, OK, Some("alg")),
    ("7515 §4 once", Default, r#"{"alg":"none","alg":"HS256"}"#, OK, Some("alg")),
    ("8725 §3.1 not what is configured", Default, r#"{"alg":"HS512"}"#, OK, Some("alg")),
    ("8725 §2.1 nor that of a public key", Default, r#"{"alg":"RS256"}"#, OK, Some("alg")),
    ("7515 §4 what is not known is ignored", Default, r#"{"alg":"HS256","kid":"1","x":{}}"#, OK, None),
    ("8725 §3.10 where a key is said to be is not looked", Default, r#"{"alg":"HS256","jku":"http://evil.example","jwk":{"kty":"oct","k":"YQ"}}"#, OK, None),
    ("7515 §4 an object", Default, r#"["HS256"]"#, OK, Some("header")),
    ("7515 §4 not nothing", Default, "", OK, Some("header")),
    ("7515 §4 in whole", Default, r#"{"alg":"HS256""#, OK, Some("header")),
];

const OK: &str = r#"{"acc":"a","app":"b","exp":@60}"#;

/// Puts times in.
fn timed(text: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut parts = text.split('@');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|c: char| !"-.0123456789".contains(c)).unwrap_or(part.len());
        let (offset, rest) = part.split_at(end);
        let (whole, fraction) = offset.split_once('.').unwrap_or((offset, ""));
        let time = now as i64 + whole.parse::<i64>().unwrap();
        let dot = if fraction.is_empty() { "" } else { "." };
        out += &format!("{time}{dot}{fraction}{rest}");
    }
    out
}

/// A token that is signed, whatever it says.
fn sign(header: &str, claims: &str) -> String {
    let message =
        format!("{}.{}", base64_url(header.as_bytes()), base64_url(timed(claims).as_bytes()));
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let signature = imago_kit::jwt::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

async fn verdict(rules: Rules, token: &str) -> Result<Identity, AuthError> {
    check(&jwt(rules), &login(token)).await.and_then(Identity::checked)
}

#[tokio::test]
async fn each_token_has_its_verdict_and_each_refusal_names_its_reason() {
    let mut wrong = Vec::new();
    for (why, rules, header, claims, word) in [TIMES, NAMES, CLAIMS, HEADERS].concat() {
        let token = sign(header, claims);
        let given = verdict(rules, &token).await;
        let is_right = match (&given, word) {
            (Ok(_), None) => true,
            (Err(AuthError::Unauthorized(words)), Some(word)) => {
                // The words go into a close frame, and into a log.
                words.contains(word) && words.len() <= 123 && !words.contains(JWT_SECRET)
            }
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{why}: {header} {claims}: expected {word:?}, got {given:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_token_has_the_three_parts_of_a_signed_one() {
    let token = sign(HEAD, OK);
    verdict(Default, &token).await.unwrap();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    for (why, token, word) in [
        ("nothing", String::new(), "token"),
        ("7515 §7.1 two parts", format!("{header}.{claims}"), "token"),
        ("7515 §7.1 four", format!("{token}.x"), "token"),
        ("7516 §7.1 five are those of an encrypted one", format!("{token}.x.y"), "encrypted"),
        ("7515 §7.2 the form in JSON", format!(r#"{{"payload":"{claims}"}}"#), "token"),
        ("6750 §2.1 with its scheme", format!("Bearer {token}"), "header"),
        ("7515 §2 with padding", format!("{header}=.{claims}.{signature}"), "header"),
        ("7515 §2 with white space", format!("{header}\n.{claims}.{signature}"), "header"),
        ("7515 §2 with padding", format!("{header}.{claims}.{signature}="), "signature"),
        ("7515 §2 at its end", format!("{token}\n"), "signature"),
        ("7515 §5.2 no signature", format!("{header}.{claims}."), "signature"),
        ("7515 §5.2 a part of it", format!("{header}.{claims}.{}", &signature[..40]), "signature"),
        ("7515 §5.2 that of other claims", format!("{header}.{claims}a.{signature}"), "signature"),
        (
            "8725 §2.1 no signature at all",
            with_header(r#"{"alg":"none"}"#, &format!("{header}.{claims}.")),
            "alg",
        ),
    ] {
        let words = verdict(Default, &token).await.unwrap_err().to_string();
        assert!(words.contains(word), "{why}: {words}");
        assert!(token.is_empty() || !words.contains(&token), "{why}: {words}");
    }
}

#[tokio::test]
async fn what_is_signed_and_useless_harms_nothing() {
    // As deep as a login packet can be.
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let claims = |claim: &str| format!(r#"{{"acc":"a","app":"b","exp":@60,{claim}}}"#);
    let unknown = sign(HEAD, &claims(&format!(r#""x":{}"#, deep(5000))));
    verdict(Default, &unknown).await.unwrap();
    let known = sign(HEAD, &claims(&format!(r#""aud":{}"#, deep(5000))));
    assert!(verdict(Named, &known).await.is_err());
    let long = sign(HEAD, &claims(&format!(r#""x":"{}""#, "y".repeat(500_000))));
    verdict(Default, &long).await.unwrap();
    let names = vec!["\"mail\""; 50_000].join(",");
    let many = sign(HEAD, &claims(&format!(r#""iss":"id.example","aud":[{names},"chat"]"#)));
    verdict(Named, &many).await.unwrap();
}

#[tokio::test]
async fn an_identity_ends_with_its_token_and_the_leeway() {
    let claims = r#"{"acc":"a","app":"b","exp":4102444800}"#;
    let ends = |rules| async move { verdict(rules, &sign(HEAD, claims)).await.unwrap().expires };
    let exact = UNIX_EPOCH + Duration::from_secs(FUTURE);
    assert_eq!(ends(Exact).await, Some(exact));
    assert_eq!(ends(Default).await, Some(exact + DEFAULT_LEEWAY));
    // The end of time is no end.
    let never = sign(HEAD, r#"{"acc":"a","app":"b","exp":9223372036854775807}"#);
    assert_eq!(verdict(Default, &never).await.unwrap().expires, None);
}
