//! A certificate for localhost, fresh for each test, made by the `openssl` command.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::program::Program;

/// A self-signed certificate for `localhost` and 127.0.0.1 with its key, both PEM. The files go with this value.
pub struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    /// Makes one that is valid for two days.
    ///
    /// # Errors
    /// `openssl` is missing or fails.
    pub fn for_localhost() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let certificate = Self { folder };
        Program::tool("openssl", "openssl")?
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            // As an authority it would be refused as a server's own certificate.
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(certificate.key())
            .arg("-out")
            .arg(certificate.crt())
            .run()?
            .success()?;
        Ok(certificate)
    }

    /// The file of the certificate: for `--crt`, and for a client that trusts it.
    pub fn crt(&self) -> PathBuf {
        self.folder.path().join("localhost.crt")
    }

    /// The file of the key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("localhost.key")
    }

    /// The folder of both.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_pem() {
        let certificate = Certificate::for_localhost().unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(read(certificate.crt()).starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(read(certificate.key()).starts_with("-----BEGIN PRIVATE KEY-----"));
        let text = Program::tool("openssl", "openssl")
            .unwrap()
            .args(["x509", "-noout", "-text", "-in"])
            .arg(certificate.crt());
        let text = text.run().unwrap().success().unwrap().stdout();
        assert!(text.contains("DNS:localhost, IP Address:127.0.0.1"), "{text}");
        assert!(text.contains("CA:FALSE") && !text.contains("CA:TRUE"), "{text}");
    }
}
