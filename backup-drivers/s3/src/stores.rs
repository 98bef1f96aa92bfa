//! A store for each container: one store of object_store is one bucket.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use backup_core::{ContainerName, Error, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::config::{ChecksumKind, Encryption, S3Config, is_bucket_name};
use crate::credentials;
use crate::retry::Retry;
use crate::transport::Transport;
use crate::wire::{Address, Wire};

/// What an embedder hands in.
pub(crate) type Open = dyn Fn(&ContainerName) -> Result<Arc<dyn ObjectStore>> + Send + Sync;

/// Opens stores and keeps them. A process uses a handful of containers.
pub(crate) struct Stores {
    open: Box<Open>,
    opened: Mutex<HashMap<ContainerName, Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

impl Stores {
    pub(crate) fn new(open: Box<Open>) -> Self {
        Self {
            open,
            opened: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, container: &ContainerName) -> Result<Arc<dyn ObjectStore>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(container) {
            return Ok(Arc::clone(store));
        }
        let store = (self.open)(container)?;
        opened.insert(container.clone(), Arc::clone(&store));
        Ok(store)
    }
}

/// Both ways to a server: object_store's stores and our own requests.
pub(crate) fn connect(config: &S3Config) -> Result<(Stores, Wire)> {
    config.check()?;
    let transport = Transport::new(config)?;
    let retry = Retry::new(config);
    let (builder, region) = credentials::apply(config, AmazonS3Builder::new())?;
    let mut builder = builder
        .with_http_connector(transport.clone())
        .with_retry(retry.for_object_store())
        // Deletes of many go by our own request; one that is left for object_store is deleted by itself.
        .with_disable_bulk_delete(true)
        .with_allow_http(true);
    builder = match config.checksum {
        ChecksumKind::Signature => builder,
        ChecksumKind::ContentMd5 | ChecksumKind::None => builder.with_unsigned_payload(true),
        ChecksumKind::Sha256 => builder.with_checksum_algorithm(Checksum::SHA256),
        ChecksumKind::Crc64nvme => builder.with_checksum_algorithm(Checksum::CRC64NVME),
    };
    builder = encrypt(config, builder)?;
    builder = builder.with_conditional_put(if config.conditional_put {
        S3ConditionalPut::ETagMatch
    } else {
        S3ConditionalPut::Disabled
    });
    let endpoint = match config.endpoint()? {
        Some(endpoint) => endpoint,
        None => amazon(&region)?,
    };
    let address = Address {
        endpoint,
        virtual_host: config.virtual_host_style,
    };
    // One provider for all buckets, so that temporary keys are fetched once.
    let first = builder
        .clone()
        .with_bucket_name(&config.bucket)
        .build()
        .map_err(|e| {
            let reason = crate::error::Failure::store(&e).to_string();
            Error::invalid("read S3 settings", reason)
        })?;
    let credentials = Arc::clone(first.credentials());
    let builder = builder.with_credentials(Arc::clone(&credentials));
    let wire = Wire {
        http: transport.http(),
        credentials,
        region,
        address: address.clone(),
        retry,
    };
    let open = move |container: &ContainerName| -> Result<Arc<dyn ObjectStore>> {
        let bucket = bucket_of(container)?;
        let builder = builder.clone().with_bucket_name(bucket);
        // With the virtual style object_store wants the bucket in the endpoint, and leaves it out of the path.
        let builder = if address.virtual_host {
            builder
                .with_endpoint(address.bucket(bucket))
                .with_virtual_hosted_style_request(true)
        } else {
            builder.with_endpoint(address.endpoint.as_str())
        };
        let store = builder
            .build()
            .map_err(|e| crate::error::Failure::store(&e).into_error("open bucket", bucket))?;
        Ok(Arc::new(store))
    };
    Ok((Stores::new(Box::new(open)), wire))
}

/// The bucket of a container, for which nothing but a plain name will do.
pub(crate) fn bucket_of(container: &ContainerName) -> Result<&str> {
    let name = container.as_str();
    if is_bucket_name(name) {
        return Ok(name);
    }
    Err(Error::invalid("open bucket", "it is no bucket name")
        .on(name)
        .hint("use letters, digits, '-', '.' and '_' only"))
}

fn amazon(region: &str) -> Result<Url> {
    Url::parse(&format!("https://s3.{region}.amazonaws.com")).map_err(|e| {
        Error::invalid(
            "read S3 settings",
            format!("region {region:?} makes no address"),
        )
        .caused_by(e)
    })
}

fn encrypt(config: &S3Config, builder: AmazonS3Builder) -> Result<AmazonS3Builder> {
    let with_type = |builder: AmazonS3Builder, kind: &str| match "aws_server_side_encryption"
        .parse::<AmazonS3ConfigKey>()
    {
        Ok(key) => Ok(builder.with_config(key, kind)),
        Err(e) => Err(Error::internal("read S3 settings", e.to_string())),
    };
    let key = config.sse_kms_key_id.as_deref();
    Ok(match (config.sse, key) {
        (None, _) => builder,
        (Some(Encryption::S3), _) => with_type(builder, "AES256")?,
        (Some(Encryption::Kms), None) => with_type(builder, "aws:kms")?,
        (Some(Encryption::Kms), Some(key)) => builder.with_sse_kms_encryption(key),
        (Some(Encryption::KmsDsse), key) => {
            builder.with_dsse_kms_encryption(key.unwrap_or_default())
        }
        (Some(Encryption::Customer), _) => match config.sse_customer_key()? {
            Some(key) => builder.with_ssec_encryption(key.expose()),
            None => builder,
        },
    })
}

/// The size of an object, by HEAD.
pub(crate) async fn size_of(
    store: &dyn ObjectStore,
    path: &object_store::path::Path,
) -> object_store::Result<u64> {
    Ok(store.head(path).await?.size)
}
