//! Keystone's catalogue: where the services are.

use std::collections::BTreeSet;

use backup_core::ErrorKind;
use serde::Deserialize;
use url::Url;

use super::{Wanted, storage_url};
use crate::error::{Failure, shorten};

#[derive(Debug, Deserialize)]
pub(super) struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    region_id: Option<String>,
    url: String,
}

impl Endpoint {
    fn region(&self) -> &str {
        let region = self.region_id.as_deref().or(self.region.as_deref());
        region.unwrap_or_default()
    }
}

/// The account's address; where there is none, what there is instead.
pub(super) fn find(catalogue: &[Service], wanted: &Wanted) -> Result<Url, Failure> {
    if catalogue.is_empty() {
        return Err(none(
            "the token has no catalogue of services, since it is of no project",
            "set project_name (and project_domain_name), or project_id",
        ));
    }
    let services: Vec<_> = catalogue
        .iter()
        .filter(|s| s.kind == wanted.service_type)
        .collect();
    if services.is_empty() {
        let types = catalogue.iter().map(|s| s.kind.as_str());
        return Err(none(
            format!(
                "the catalogue has no service of type {:?}; it has: {}",
                wanted.service_type,
                listed(types)
            ),
            "set service_type, or storage_url, or have Swift put into the catalogue",
        ));
    }
    let named: Vec<_> = services
        .iter()
        .filter(|s| wanted.service_name.is_none() || s.name == wanted.service_name)
        .collect();
    if named.is_empty() {
        let names = services.iter().filter_map(|s| s.name.as_deref());
        return Err(none(
            format!(
                "no such service is called as service_name says; there are: {}",
                listed(names)
            ),
            "set service_name to one of them, or leave it out",
        ));
    }
    let endpoints: Vec<_> = named.iter().flat_map(|s| &s.endpoints).collect();
    let there: Vec<_> = endpoints
        .iter()
        .filter(|e| wanted.region.as_deref().is_none_or(|r| r == e.region()))
        .collect();
    if there.is_empty() {
        return Err(none(
            format!(
                "the service has no address in region {:?}; it has some in: {}",
                wanted.region.as_deref().unwrap_or_default(),
                listed(endpoints.iter().map(|e| e.region()))
            ),
            "set region_name to one of them",
        ));
    }
    // Keystone's v2 called them publicURL and so on, and some still fill the catalogue so.
    let is_wanted = |e: &Endpoint| e.interface.trim_end_matches("URL") == wanted.interface.word();
    let fit: Vec<_> = there.iter().filter(|e| is_wanted(e)).collect();
    let regions: BTreeSet<_> = fit.iter().map(|e| e.region()).collect();
    match fit.first() {
        None => Err(none(
            format!(
                "the service has no {} address; it has: {}",
                wanted.interface.word(),
                listed(there.iter().map(|e| e.interface.as_str()))
            ),
            "set interface to one of them",
        )),
        // To take any of them would be to write into a region of chance.
        Some(_) if regions.len() > 1 => Err(none(
            format!("the service is in several regions: {}", listed(regions)),
            "set region_name to one of them",
        )),
        Some(endpoint) => storage_url(&endpoint.url),
    }
}

fn none(reason: impl Into<String>, hint: &'static str) -> Failure {
    Failure::SignIn {
        kind: ErrorKind::InvalidInput,
        reason: reason.into(),
        hint: hint.into(),
    }
}

fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: BTreeSet<_> = words.into_iter().filter(|w| !w.is_empty()).collect();
    let words: Vec<_> = words.into_iter().collect();
    if words.is_empty() {
        return "none".into();
    }
    shorten(&words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;

    fn catalogue() -> Vec<Service> {
        let text = r#"[
          {"type": "identity", "name": "keystone", "endpoints": []},
          {"type": "object-store", "name": "swift", "endpoints": [
            {"interface": "public", "region": "One", "region_id": "One", "url": "https://one/v1/AUTH_p"},
            {"interface": "internal", "region": "One", "region_id": "One", "url": "http://in/v1/AUTH_p/"},
            {"interface": "public", "region": "Two", "url": "https://two/v1/AUTH_p"},
            {"interface": "admin", "region": "Odd", "url": "not an address"}]}]"#;
        serde_json::from_str(text).unwrap()
    }

    fn wanted(region: Option<&str>, interface: Interface) -> Wanted {
        Wanted {
            service_type: "object-store".into(),
            service_name: None,
            region: region.map(Into::into),
            interface,
        }
    }

    fn told(wanted: &Wanted) -> String {
        find(&catalogue(), wanted).unwrap_err().to_string()
    }

    #[test]
    fn region_and_interface_choose_the_address() {
        let url = |region, interface| find(&catalogue(), &wanted(region, interface)).unwrap();
        assert_eq!(
            url(Some("Two"), Interface::Public).as_str(),
            "https://two/v1/AUTH_p"
        );
        assert_eq!(
            url(None, Interface::Internal).as_str(),
            "http://in/v1/AUTH_p/"
        );
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let mut other = wanted(None, Interface::Public);
        other.service_type = "object".into();
        assert!(told(&other).contains("identity, object-store"));
        assert!(told(&wanted(Some("Three"), Interface::Public)).contains("Odd, One, Two"));
        assert!(told(&wanted(Some("Two"), Interface::Admin)).contains("it has: public"));
        assert!(told(&wanted(None, Interface::Public)).contains("several regions: One, Two"));
        let mut other = wanted(Some("One"), Interface::Public);
        other.service_name = Some("rgw".into());
        assert!(told(&other).contains("swift"));
        assert!(told(&wanted(Some("Odd"), Interface::Admin)).contains("no account's address"));
        let failure = find(&[], &wanted(None, Interface::Public)).unwrap_err();
        assert!(failure.to_string().contains("no project"));
    }
}
