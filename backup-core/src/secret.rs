//! Passwords, keys and tokens in settings.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// A text that never appears in a log or an error: its `Debug` shows only that it is set, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret of the setting `name`, or of the file that `NAME_file` names, without the space around it.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where both are set, else those of reading the file.
    pub fn from_setting(
        operation: &'static str,
        name: &str,
        text: Option<&Self>,
        file: Option<&Path>,
    ) -> Result<Option<Self>> {
        match (text, file) {
            (Some(_), Some(_)) => Err(Error::invalid(
                operation,
                format!("both {name} and {name}_file are set"),
            )),
            (Some(secret), None) => Ok(Some(secret.clone())),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| Error::io(format!("read {name}_file"), path.display(), e))?;
                Ok(Some(Self::new(text.trim())))
            }
            (None, None) => Ok(None),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_from_its_setting_or_its_file_but_not_from_both() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let of = |text: Option<&Secret>, file| Secret::from_setting("read", "key", text, file);
        assert_eq!(of(None, None).unwrap(), None);
        assert_eq!(
            of(None, Some(file.path())).unwrap().unwrap().expose(),
            "hush"
        );
        let secret = Secret::new("quiet");
        assert_eq!(of(Some(&secret), None).unwrap(), Some(secret.clone()));
        let error = of(Some(&secret), Some(file.path())).unwrap_err();
        assert!(error.to_string().contains("key_file"), "{error}");
    }

    #[test]
    fn its_debug_text_hides_it() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "(set)");
    }
}
