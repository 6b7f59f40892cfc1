//! The volumes of a Pod as folders of the machine, kept up to date as kubelet does it: every version of the files is a
//! folder of its own, and one renamed link (`..data`) makes it the present one.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};

use super::environment::field;
use super::objects::{Data, Objects};

/// The folders of a Pod's volumes.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    written: BTreeMap<String, Data>,
    tokens: BTreeMap<String, Vec<u8>>,
}

impl Volumes {
    /// The folder of a volume.
    pub(super) fn folder(base: &Path, volume: &str) -> PathBuf {
        base.join("volumes").join(volume)
    }

    /// Reads the contents of every volume and writes those that have changed.
    ///
    /// # Errors
    /// What is missing: a ConfigMap, a Secret, or a kind of volume that the test node does not know.
    pub(super) async fn update(
        &mut self,
        base: &Path,
        pod: &Pod,
        address: &str,
        objects: &Objects,
    ) -> Result<()> {
        let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_ref()).into_iter().flatten();
        for volume in volumes {
            let folder = Self::folder(base, &volume.name);
            std::fs::create_dir_all(&folder)?;
            if volume.empty_dir.is_some() {
                // As kubelet makes it: the containers that share it may be several users.
                std::fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
                continue;
            }
            let context = || format!("MountVolume failed for volume \"{}\"", volume.name);
            let data = self.contents(volume, pod, address, objects).await.with_context(context)?;
            if self.written.get(&volume.name) != Some(&data) {
                write(&folder, &data)?;
                self.written.insert(volume.name.clone(), data);
            }
        }
        Ok(())
    }

    async fn contents(
        &mut self,
        volume: &Volume,
        pod: &Pod,
        address: &str,
        objects: &Objects,
    ) -> Result<Data> {
        if let Some(map) = &volume.config_map {
            return select(objects.config_map(&map.name, map.optional).await?, map.items.as_deref());
        }
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            return select(objects.secret(name, secret.optional).await?, secret.items.as_deref());
        }
        if let Some(downward) = &volume.downward_api {
            return files(pod, address, downward.items.as_deref());
        }
        let Some(projected) = &volume.projected else {
            bail!("the test node does not know this kind of volume")
        };
        let mut all = Data::new();
        for source in projected.sources.iter().flatten() {
            all.extend(self.projection(&volume.name, source, pod, address, objects).await?);
        }
        Ok(all)
    }

    async fn projection(
        &mut self,
        volume: &str,
        source: &VolumeProjection,
        pod: &Pod,
        address: &str,
        objects: &Objects,
    ) -> Result<Data> {
        if let Some(map) = &source.config_map {
            return select(objects.config_map(&map.name, map.optional).await?, map.items.as_deref());
        }
        if let Some(secret) = &source.secret {
            return select(objects.secret(&secret.name, secret.optional).await?, secret.items.as_deref());
        }
        if let Some(downward) = &source.downward_api {
            return files(pod, address, downward.items.as_deref());
        }
        let Some(token) = &source.service_account_token else {
            bail!("the test node does not know this projection")
        };
        // One token for the Pod's life: tests are shorter than any expiry.
        let key = format!("{volume}/{}", token.path);
        if !self.tokens.contains_key(&key) {
            let made = objects.token(pod, token.audience.as_deref(), token.expiration_seconds).await?;
            self.tokens.insert(key.clone(), made.into_bytes());
        }
        Ok(Data::from([(token.path.clone(), self.tokens[&key].clone())]))
    }
}

/// All entries under their keys, or only `items` under their paths.
fn select(data: Data, items: Option<&[KeyToPath]>) -> Result<Data> {
    let Some(items) = items else { return Ok(data) };
    let one = |item: &KeyToPath| {
        let value =
            data.get(&item.key).with_context(|| format!("references non-existent key: {}", item.key))?;
        Ok((item.path.clone(), value.clone()))
    };
    items.iter().map(one).collect()
}

fn files(pod: &Pod, address: &str, items: Option<&[DownwardAPIVolumeFile]>) -> Result<Data> {
    let one = |item: &DownwardAPIVolumeFile| {
        let path = item.field_ref.as_ref().map_or("", |reference| &reference.field_path);
        Ok((item.path.clone(), field(pod, address, path)?.into_bytes()))
    };
    items.into_iter().flatten().map(one).collect()
}

/// Makes `data` the contents of `folder`, in one step for whoever looks.
fn write(folder: &Path, data: &Data) -> Result<()> {
    let version = tempfile::Builder::new().prefix("..version-").tempdir_in(folder)?.keep();
    for (path, bytes) in data {
        let file = version.join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(&version))?;
        std::fs::write(&file, bytes)?;
        // The first part of the path leads through the link to the present version.
        let first = Path::new(path).components().next().context("an empty path")?;
        let link = folder.join(first);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(first), link)?;
        }
    }
    let (new, current) = (folder.join("..data_tmp"), folder.join("..data"));
    let old = std::fs::read_link(&current).ok();
    let name = version.file_name().context("a version without a name")?;
    std::os::unix::fs::symlink(name, &new)?;
    std::fs::rename(&new, &current)?;
    for entry in std::fs::read_dir(folder)?.flatten() {
        let gone = !entry.path().exists() && entry.path().symlink_metadata().is_ok();
        if gone {
            std::fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_change_in_one_step() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = |pairs: &[(&str, &str)]| -> Data {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect()
        };
        for pairs in [&[("a", "1"), ("b", "2")][..], &[("a", "3"), ("deep/c", "4")], &[("a", "5")]] {
            write(folder.path(), &data(pairs)).expect("written");
            for name in ["a", "b", "deep/c"] {
                let want = pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
                assert_eq!(std::fs::read_to_string(folder.path().join(name)).ok(), want, "{name}");
            }
        }
        let visible = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(visible, 3, "the file, ..data and one version");
    }
}
