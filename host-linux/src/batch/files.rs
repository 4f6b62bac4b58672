//! What can be done with files. Each is seen only with the API key that it was sent with.
use super::batches::{Batches, INPUT, draw_digits, not_found, now};
use super::error::BatchesError;
use super::object::FileObject;
use std::fs::File;
use std::io;
use std::path::Path;

impl Batches {
    /// Keeps a file that was sent.
    pub fn add_file(
        &self,
        owner: Option<&str>,
        filename: &str,
        bytes: &[u8],
    ) -> Result<FileObject, BatchesError> {
        let digits = draw_digits(Path::new("files"))?;
        let file = {
            let mut state = self.state();
            state.check_file(owner, bytes.len() as u64, &self.limits)?;
            let file = FileObject {
                id: format!("file-{digits}"),
                bytes: bytes.len() as u64,
                created_at: now(),
                filename: filename.to_owned(),
                purpose: INPUT.to_owned(),
                owner: owner.map(str::to_owned),
                number: state.take_number(),
            };
            // Its bytes count while they are written, which others need not wait for.
            state.coming.insert(file.id.clone(), file.clone());
            file
        };
        let written = self.folder.write_file(&file, bytes);
        let mut state = self.state();
        state.coming.remove(&file.id);
        written?;
        state.files.insert(file.id.clone(), file.clone());
        Ok(file)
    }

    /// All files of an owner, the newest first.
    pub fn files(&self, owner: Option<&str>) -> Vec<FileObject> {
        let state = self.state();
        let own = state.files.values().filter(|file| file.owner.as_deref() == owner);
        let mut files: Vec<FileObject> = own.cloned().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.number));
        files
    }

    /// A file of an owner.
    pub fn file(&self, owner: Option<&str>, id: &str) -> Result<FileObject, BatchesError> {
        let state = self.state();
        let file = state.files.get(id).filter(|file| file.owner.as_deref() == owner);
        file.cloned().ok_or_else(|| not_found("file", id))
    }

    /// What is in a file of an owner.
    pub fn content(&self, owner: Option<&str>, id: &str) -> Result<File, BatchesError> {
        let path = self.folder.content(&self.file(owner, id)?.id);
        File::open(&path).map_err(|error| match error.kind() {
            // It was deleted in the meantime.
            io::ErrorKind::NotFound => not_found("file", id),
            _ => BatchesError::at(&path)(error),
        })
    }

    /// Deletes a file of an owner, unless a batch needs it.
    pub fn delete_file(&self, owner: Option<&str>, id: &str) -> Result<(), BatchesError> {
        let _changing = self.changing();
        let file = self.file(owner, id)?;
        {
            let state = self.state();
            let mut unfinished = state.batches.values().filter(|batch| !batch.status.is_final());
            if let Some(batch) = unfinished.find(|batch| batch.input_file_id == file.id) {
                return Err(BatchesError::InUse { batch: batch.id.clone() });
            }
        }
        self.folder.delete_file(&file.id)?;
        self.state().files.remove(&file.id);
        Ok(())
    }
}
