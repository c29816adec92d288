//! Which URLs and which servers are believed: each `sslmode` against a server in plain text and one with a certificate of our own.

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use tidewatch::history::open;

/// What the server says to anyone it lets in: it got that far.
const ADMITTED: &str = "you were believed";

/// A certificate that signs itself, for `localhost`.
fn certificate() -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "tidewatch test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().ca().build().unwrap()).unwrap();
    let names = SubjectAlternativeName::new().dns("localhost").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// Turns whoever finishes the startup away by name.
fn turn_away(mut stream: impl Read + Write) {
    let mut startup = [0; 1024];
    if stream.read(&mut startup).is_ok_and(|n| n > 0) {
        let fields = format!("SFATAL\0C28000\0M{ADMITTED}\0\0");
        let length = u32::try_from(fields.len() + 4).unwrap();
        let _ = stream.write_all(&[b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat());
    }
}

fn serve(mut stream: TcpStream, acceptor: Option<&SslAcceptor>) {
    let mut request = [0; 8];
    // 80877103 asks for TLS (PostgreSQL, "Message Formats", SSLRequest); anything else is a startup in plain text.
    if stream.peek(&mut request).is_ok_and(|n| n == 8) && request[4..] == 80_877_103u32.to_be_bytes() {
        stream.read_exact(&mut request).unwrap();
        let Some(acceptor) = acceptor else {
            stream.write_all(b"N").unwrap();
            return turn_away(stream);
        };
        stream.write_all(b"S").unwrap();
        if let Ok(stream) = acceptor.accept(stream) {
            turn_away(stream);
        }
    } else {
        turn_away(stream);
    }
}

/// Starts a server and returns its port.
fn server(identity: Option<&(X509, PKey<Private>)>) -> u16 {
    let acceptor = identity.map(|(certificate, key)| {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        builder.set_certificate(certificate).unwrap();
        builder.set_private_key(key).unwrap();
        builder.build()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), acceptor.as_ref());
        }
    });
    port
}

fn answer(host: &str, port: u16, parameters: &str) -> String {
    let text = open(&format!("postgres://me:hunter2@{host}:{port}/metrics?{parameters}")).err().unwrap().to_string();
    assert!(!text.contains("hunter2"), "{text}");
    text
}

#[test]
fn a_plaintext_server_is_refused_under_verify_full() {
    let port = server(None);
    for mode in ["verify-full", "verify-ca", "require"] {
        let text = answer("127.0.0.1", port, &format!("sslmode={mode}"));
        assert!(text.contains("turn it on at the server") && !text.contains(ADMITTED), "{mode}: {text}");
    }
    for mode in ["prefer", "disable"] {
        assert!(answer("127.0.0.1", port, &format!("sslmode={mode}")).contains(ADMITTED), "{mode}");
    }
}

#[test]
fn verify_full_wants_a_known_authority_and_the_right_name() {
    let identity = certificate();
    let port = server(Some(&identity));
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, identity.0.to_pem().unwrap()).unwrap();
    let known = format!("sslrootcert={}", root.display());
    let believed = |host: &str, parameters: String| {
        let text = answer(host, port, &parameters);
        assert!(text.contains(ADMITTED) || text.contains("check sslrootcert"), "{parameters}: {text}");
        text.contains(ADMITTED)
    };
    assert!(believed("localhost", format!("sslmode=verify-full&{known}")));
    assert!(!believed("127.0.0.1", format!("sslmode=verify-full&{known}")), "the certificate is for localhost");
    assert!(believed("127.0.0.1", format!("sslmode=verify-ca&{known}")));
    assert!(!believed("localhost", "sslmode=verify-full".to_string()), "nobody knows the authority");
    assert!(!believed("localhost", "sslmode=verify-ca".to_string()));
    assert!(believed("127.0.0.1", "sslmode=require".to_string()));
    assert!(believed("127.0.0.1", "sslmode=prefer".to_string()));
    let missing = answer("localhost", port, "sslmode=verify-full&sslrootcert=/nowhere.pem");
    assert!(missing.contains("sslrootcert /nowhere.pem"), "{missing}");
}

#[test]
fn an_unknown_scheme_is_answered_with_those_there_are() {
    let text = open("mysql://me:hunter2@db/metrics").err().unwrap().to_string();
    assert!(text.contains("embedded:PATH") && text.contains("postgres://") && !text.contains("hunter2"), "{text}");
    assert!(open("tidewatch.db").err().unwrap().to_string().contains("no scheme"));
}

#[test]
fn an_unreachable_server_is_named_with_a_fix_and_without_the_password() {
    let text = open("postgres://me:hunter2@127.0.0.1:1/metrics").err().unwrap().to_string();
    assert!(text.contains("postgres://me@127.0.0.1:1/metrics") && text.contains("check that the server runs"), "{text}");
    assert!(!text.contains("hunter2"));
}
