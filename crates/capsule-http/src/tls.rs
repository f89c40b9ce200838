//! The server's certificate.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use capsule_cmd::message::HintExt as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Reads certificate and key, checks that they belong together, and offers HTTP/2 and HTTP/1.1.
pub(crate) fn acceptor(files: &Tls) -> anyhow::Result<TlsAcceptor> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| anyhow!("cannot read the private key `{}`: {error}", files.key.display()))
        .hint("expected a PEM file with one private key that has no password (flag `--key`)")?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!("certificate `{}` and key `{}` cannot be used", files.certificate.display(), files.key.display())
        })
        .hint("do they belong together?")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let hint = "expected a PEM file with a certificate chain (flag `--crt`)";
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| anyhow!("cannot read the certificate `{}`: {error}", path.display()))
        .hint(hint)?;
    if chain.is_empty() {
        return Err(anyhow!("`{}` has no certificate", path.display()).hint(hint));
    }
    Ok(chain)
}
