//! What may have the bytes of an image on this machine: a file, a device, an older copy.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use borg_repository::ItemPath;

use crate::archives::chunks::{Chunks, Piece};
use crate::error::{Error, Result};
use crate::tools::directory::{Directory, c_name};

/// Open seeds of an image. They are only read.
#[derive(Debug, Default)]
pub struct ImageSeeds(Vec<File>);

impl ImageSeeds {
    /// Opens what may have the bytes of the image `path`: a file or device itself, of a directory the file at this
    /// path.
    ///
    /// # Errors
    /// When one of them is not there, or cannot be read.
    pub fn open(seeds: &[PathBuf], path: &ItemPath) -> Result<Self> {
        let mut opened = Vec::new();
        for seed in seeds {
            let to_error = |e| Error::usage(format!("cannot read the seed {}", seed.display())).because(e);
            if !std::fs::metadata(seed).map_err(to_error)?.is_dir() {
                opened.push(File::open(seed).map_err(to_error)?);
                continue;
            }
            let mut names: Vec<&[u8]> = path.components().collect();
            let name = names.pop().and_then(|name| c_name(name).ok());
            let directory = Directory::open(seed).map_err(to_error)?.below(names.into_iter());
            let file = name.zip(directory.ok()).and_then(|(name, directory)| directory.open_file(&name).ok());
            opened.extend(file.filter(|file| file.metadata().is_ok_and(|meta| meta.is_file())));
        }
        Ok(ImageSeeds(opened))
    }

    /// The bytes of the piece, if a seed has them: what is returned is what was hashed.
    pub fn bytes(&self, chunks: &Chunks, piece: &Piece) -> Option<Vec<u8>> {
        let chunk = piece.chunk.filter(|_| !self.0.is_empty())?;
        let mut bytes = vec![0; piece.length() as usize];
        let has = |seed: &File, bytes: &mut [u8]| {
            seed.read_exact_at(bytes, piece.range.start).is_ok()
                && chunks.matches(&[(chunk, bytes)]) == [true]
        };
        self.0.iter().any(|seed| has(seed, &mut bytes)).then_some(bytes)
    }
}
