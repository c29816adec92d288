//! A server for tests that speaks HTTP within TLS, by a certificate that nobody knows unless told.

use crate::receivers::{Heard, Server, speak_http};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use std::net::TcpStream;
use std::sync::{LazyLock, Mutex};

/// The server's side, and its certificate as text.
static IDENTITY: LazyLock<(SslAcceptor, Vec<u8>)> = LazyLock::new(|| {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let names = SubjectAlternativeName::new().dns("localhost").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    (acceptor.build(), certificate.to_pem().unwrap())
});

/// One that is under way, and the certificate that proves that it is `localhost`.
pub fn server() -> (Server, &'static [u8]) {
    (Server::start(0, speak), &IDENTITY.1)
}

fn speak(stream: TcpStream, heard: &Mutex<Heard>) -> std::io::Result<()> {
    match IDENTITY.0.accept(stream) {
        Ok(stream) => speak_http(stream, heard),
        // Whoever does not believe the certificate goes away.
        Err(error) => Err(std::io::Error::other(error)),
    }
}
