//! Which field of a JSON text each of its bytes belongs to.

/// For each byte the path of its field: `objects.*.md5`, with ` (key)` behind it for a byte of the key itself. What
/// stands between fields belongs to what is around them.
pub fn fields(text: &[u8]) -> Vec<String> {
    let mut walk = Walk {
        text,
        at: 0,
        of: Vec::with_capacity(text.len()),
    };
    walk.value("");
    while walk.of.len() < text.len() {
        walk.of.push(String::new());
    }
    walk.of
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    of: Vec<String>,
}

impl Walk<'_> {
    fn peek(&self) -> u8 {
        self.text[self.at]
    }

    fn take(&mut self, path: &str) {
        self.of.push(path.to_owned());
        self.at += 1;
    }

    fn blanks(&mut self, path: &str) {
        while self.peek().is_ascii_whitespace() {
            self.take(path);
        }
    }

    /// A string; what is between its quotes.
    fn string(&mut self, path: &str) -> String {
        let start = self.at + 1;
        self.take(path);
        while self.peek() != b'"' {
            if self.peek() == b'\\' {
                self.take(path);
            }
            self.take(path);
        }
        self.take(path);
        String::from_utf8(self.text[start..self.at - 1].to_vec()).unwrap()
    }

    fn value(&mut self, path: &str) {
        self.blanks(path);
        match self.peek() {
            b'"' => drop(self.string(path)),
            b'{' | b'[' => self.inside(path),
            _ => {
                while self.at < self.text.len() && !b",]} \n".contains(&self.peek()) {
                    self.take(path);
                }
            }
        }
    }

    /// An object or a list.
    fn inside(&mut self, path: &str) {
        let is_list = self.peek() == b'[';
        let under = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        self.take(path);
        loop {
            self.blanks(path);
            match self.peek() {
                b'}' | b']' => break self.take(path),
                b',' => self.take(path),
                _ if is_list => self.value(path),
                _ => {
                    // The key is known only behind its end.
                    let from = self.of.len();
                    let mut key = self.string("");
                    if path == "objects" {
                        key = "*".to_owned();
                    }
                    let child = under(&key);
                    self.of[from..].fill(format!("{child} (key)"));
                    self.blanks(path);
                    self.take(path);
                    self.value(&child);
                }
            }
        }
    }
}

#[test]
fn each_byte_is_told_its_field() {
    let text = br#"{"a": {"b": "x\""}, "objects": [{"n-1": {"md5": 12}}]}"#;
    let fields = fields(text);
    assert_eq!(fields.len(), text.len());
    let of = |part: &str| {
        let text = std::str::from_utf8(text).unwrap();
        fields[text.find(part).unwrap()].as_str()
    };
    assert_eq!(of("x"), "a.b");
    assert_eq!(of("b\""), "a.b (key)");
    assert_eq!(of("n-1"), "objects.* (key)");
    assert_eq!(of("md5"), "objects.*.md5 (key)");
    assert_eq!(of("12"), "objects.*.md5");
}
