//! Reading `[[certificate]]`, and what addresses with `tls` need.

use toml::Spanned;
use toml::de::DeValue;

use super::super::tls::{CERTIFICATE_KEYS, CertificateSettings};
use super::super::value::{Input, kind};
use super::Loader;
use crate::limits;

/// One line that makes a certificate to try things out with.
const MAKE_ONE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout privkey.pem -out fullchain.pem";

impl Loader<'_> {
    pub(super) fn read_certificates(&mut self, value: &Spanned<DeValue<'_>>) {
        let mut certificates = Vec::new();
        for (index, element) in
            self.tables("certificate", limits::TLS_CERTIFICATES, value).into_iter().enumerate()
        {
            let origin = self.place(element.span());
            self.origins.insert(format!("certificate[{index}]"), origin.clone());
            let DeValue::Table(table) = element.get_ref() else {
                self.wrong(origin, format!("a certificate needs a table, found {}", kind(element.get_ref())));
                continue;
            };
            let mut certificate = CertificateSettings::default();
            for (name, value) in table {
                let word = &**name.get_ref();
                let Some(key) = CERTIFICATE_KEYS.iter().find(|key| key.name == word) else {
                    let hint = self.hint(word, CERTIFICATE_KEYS.iter().map(|key| key.name));
                    self.unknown(name, &hint);
                    continue;
                };
                let origin = self.place(value.span());
                let done = (key.slot)(&mut certificate).set(Input::Toml(value));
                if let Err(refusal) = done {
                    self.refused(word, origin.clone(), refusal);
                }
                self.origins.insert(format!("certificate[{index}].{word}"), origin);
            }
            certificates.push(certificate);
        }
        self.config.certificates = certificates;
    }

    /// Each certificate has its two files; each address with TLS has a certificate, and what it asks of clients.
    pub(super) fn tls(&mut self) {
        for index in 0..self.config.certificates.len() {
            for key in ["certificate", "key"] {
                if !self.said(&format!("certificate[{index}].{key}")) {
                    let origin = self.origin_of(&format!("certificate[{index}]"));
                    self.wrong(origin, format!("a certificate needs `{key}`, the name of a PEM file"));
                }
            }
        }
        let lists = [("listen", &self.config.listen), ("internal_listen", &self.config.internal_listen)];
        let mut wrong = Vec::new();
        for (name, list) in lists {
            if let Some(listen) = list.iter().find(|listen| listen.door.tls)
                && self.config.certificates.is_empty()
            {
                wrong.push((
                    name,
                    format!(
                        "`{listen}` needs a certificate: add [[certificate]] with `certificate = \"fullchain.pem\"` and \
                         `key = \"privkey.pem\"` to the configuration file. To try it out make both with: {MAKE_ONE}"
                    ),
                ));
            }
            if let Some(listen) = list.iter().find(|listen| listen.door.client_certificates)
                && self.config.tls.client_ca.is_none()
            {
                let message = "needs to know whose certificates clients may have: set `client_ca` in [tls]";
                wrong.push((name, format!("`{listen}` {message}")));
            }
        }
        for (name, message) in wrong {
            self.wrong(self.origin_of(name), message);
        }
    }
}
