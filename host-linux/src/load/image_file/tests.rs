//! Image files: read back, mapped twice, spoiled, cut, written under a running model.
use super::super::NoProgress;
use super::super::pack::tests::{Threads, load_from, recipe};
use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use verbatim_core::isa::Isa;
use verbatim_core::pool::Serial;
use verbatim_tests::temporary::TemporaryDirectory;

const ALL: [ImageAccess; 4] = [
    ImageAccess { copy: false, verify: false },
    ImageAccess { copy: false, verify: true },
    ImageAccess { copy: true, verify: false },
    ImageAccess { copy: true, verify: true },
];

/// A model and its image, tokenizer and all, in a directory.
fn written(name: &str) -> (TemporaryDirectory, PathBuf, LoadedModel) {
    let directory = TemporaryDirectory::new(name);
    recipe("qwen2", true, "BF16").write(directory.path(), 1).unwrap();
    fs::write(directory.path().join("tokenizer.json"), "{\"a\": 1}").unwrap();
    let loaded = load_from(directory.path(), WeightChoice::default()).unwrap();
    let file = directory.path().join("model.image");
    write_image(&loaded, &file, &Threads).unwrap();
    (directory, file, loaded)
}

/// Opens an image; an error without the path.
fn open(file: &Path, weights: WeightChoice, access: ImageAccess) -> Result<LoadedModel, String> {
    load_image(file, weights, access, &Threads, &NoProgress)
        .map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
}

/// Spoils every byte of a run in turn and says what opening tells of each.
fn spoiled(
    good: &[u8],
    file: &Path,
    places: impl Iterator<Item = usize>,
    access: ImageAccess,
) -> Vec<String> {
    let mut bytes = good.to_vec();
    let mut told = Vec::new();
    for at in places {
        bytes[at] ^= 0x10;
        // Another file each time: what is mapped is never written.
        fs::remove_file(file).unwrap();
        fs::write(file, &bytes).unwrap();
        told.push(
            open(file, WeightChoice::default(), access).map_or_else(|error| error, |_| "taken".to_owned()),
        );
        bytes[at] ^= 0x10;
    }
    told
}

#[test]
fn a_spoiled_head_is_always_refused_and_a_spoiled_body_when_asked() {
    let (_directory, file, loaded) = written("spoiled");
    let head = loaded.model().layout().head_bytes();
    let good = fs::read(&file).unwrap();
    assert_eq!((good.len(), &good[head..]), (loaded.image().len(), &loaded.image()[head..]));
    let damaged = |part: &str| {
        format!("FILE: is damaged: its {part} does not have the hash in its header; pack the model again")
    };
    for access in ALL {
        // Every byte of the header, the tables, the padding between, configuration and tokenizer.
        for (at, told) in spoiled(&good, &file, 0..head, access).into_iter().enumerate() {
            match at {
                0..8 => assert_eq!(told, "FILE: is neither a model directory, nor a GGUF file, nor an image"),
                8..12 => assert!(told.starts_with("FILE: image header: format version: found "), "{told}"),
                12..16 => assert!(told.starts_with("FILE: image header: numerics version: found "), "{told}"),
                16..24 => assert!(told.starts_with("FILE: image header: length in bytes: found "), "{told}"),
                // The length of the head: too long, too short, or merely another.
                32..40 => {
                    let lie = told.starts_with("FILE: image header: length of the head in bytes: found ")
                        || told.starts_with("FILE: length of the head in bytes: found ");
                    assert!(lie || told == damaged("head"), "{told}");
                }
                _ => assert_eq!(told, damaged("head"), "byte {at}"),
            }
        }
        let body = [head, head + 1, (head + good.len()) / 2, good.len() - 1];
        let expected = if access.verify { damaged("body") } else { "taken".to_owned() };
        for told in spoiled(&good, &file, body.into_iter(), access) {
            assert_eq!(told, expected);
        }
        // And unspoiled it is taken: a hash that nothing has would refuse as well.
        fs::write(&file, &good).unwrap();
        let opened = open(&file, WeightChoice::default(), access).unwrap();
        assert_eq!(opened.model().source_hash(), loaded.model().source_hash());
    }
}

#[test]
fn a_body_of_several_leaves_is_read_and_hashed_whole() {
    let directory = TemporaryDirectory::new("leaves");
    let mut large = recipe("llama", false, "F32");
    large.config["vocab_size"] = 9001.into();
    large.write(directory.path(), 1).unwrap();
    let loaded = load_from(directory.path(), WeightChoice::default()).unwrap();
    let file = directory.path().join("model.image");
    write_image(&loaded, &file, &Serial).unwrap();
    let good = fs::read(&file).unwrap();
    let head = loaded.model().layout().head_bytes();
    assert!(good.len() - head > 3 * LEAF_BYTES && !(good.len() - head).is_multiple_of(LEAF_BYTES));
    for access in ALL {
        let opened = open(&file, WeightChoice::default(), access).unwrap();
        assert!(opened.image()[head..] == loaded.image()[head..]);
    }
    let places = [head + LEAF_BYTES - 1, head + LEAF_BYTES, good.len() - 1];
    let verify = ImageAccess { copy: true, verify: true };
    assert!(spoiled(&good, &file, places.into_iter(), verify).iter().all(|told| told.contains("its body")));
}

#[test]
fn an_image_in_12_bits_says_where_they_do_not_pay() {
    let directory = TemporaryDirectory::new("coded");
    recipe("qwen2", true, "BF16").write(directory.path(), 1).unwrap();
    let on = WeightChoice { compress: Compress::On, ..WeightChoice::default() };
    let file = directory.path().join("model.image");
    write_image(&load_from(directory.path(), on).unwrap(), &file, &Threads).unwrap();
    let notes = |file: &Path, weights| {
        let opened = open(file, weights, ImageAccess::default()).unwrap();
        Vec::from_iter(opened.notes().iter().map(LoadNote::to_string))
    };
    let portable = WeightChoice { isa: Some(Isa::PORTABLE), ..WeightChoice::default() };
    assert_eq!(notes(&file, portable), ["weights are compressed: that is not known to pay on portable"]);
    let on = WeightChoice { compress: Compress::On, ..portable };
    assert_eq!(notes(&file, on), [""; 0], "it was asked for");
    let (_directory, plain, _) = written("plain");
    assert_eq!(notes(&plain, portable), [""; 0]);
}

#[test]
fn files_that_are_no_images_are_told() {
    let (directory, file, loaded) = written("told");
    let good = fs::read(&file).unwrap();
    let len = good.len();
    for access in ALL {
        let message = |bytes: &[u8], weights| {
            fs::remove_file(&file).unwrap();
            fs::write(&file, bytes).unwrap();
            open(&file, weights, access).unwrap_err()
        };
        let any = WeightChoice::default();
        for cut in [len - 1, len / 2, HEADER_BYTES] {
            assert_eq!(
                message(&good[..cut], any),
                format!("FILE: image header: length in bytes: found {cut}, expected {len}")
            );
        }
        let longer = [&good[..], b"x"].concat();
        assert_eq!(
            message(&longer, any),
            format!("FILE: image header: length in bytes: found {}, expected {len}", len + 1)
        );
        assert_eq!(message(&good[..100], any), "FILE: has 100 bytes, expected at least 512");
        for none in [&b"hello"[..], b"", b"a file that is longer than a magic"] {
            assert_eq!(
                message(none, any),
                "FILE: is neither a model directory, nor a GGUF file, nor an image"
            );
        }
        let mut old = good.clone();
        old[8..12].copy_from_slice(&2_u32.to_le_bytes());
        assert_eq!(
            message(&old, any),
            "FILE: image header: format version: found 2, expected 6: pack the model again"
        );
        // An image that nobody hashed is no file to serve.
        let told = message(loaded.image(), any);
        assert!(told.starts_with("FILE: is damaged: its head"), "{told}");
        // Hashes that are right over a head that is not.
        let mut lie = good.clone();
        lie[144..152].copy_from_slice(&77_u64.to_le_bytes());
        let head = loaded.model().layout().head_bytes();
        let hash = head_hash(&lie[..head]);
        lie[HEAD_HASH].copy_from_slice(&hash);
        assert_eq!(message(&lie, any), "FILE: image header: model_type: found 77, which is unknown");
        assert_eq!(
            message(&good, WeightChoice::all(WeightFormat::F32)),
            "FILE: weight format: found bf16, expected f32"
        );
        let head = WeightChoice { head: Some(WeightFormat::Int8), ..any };
        assert_eq!(message(&good, head), "FILE: head format: found bf16, expected int8");
        let coded = WeightChoice { compress: Compress::On, ..any };
        assert_eq!(message(&good, coded), "FILE: weight format: found bf16, expected bf16-12");
    }
    let none = directory.path().join("none");
    let told =
        load(&none, WeightChoice::default(), ImageAccess::default(), &Serial, &NoProgress).unwrap_err();
    assert_eq!(
        told.to_string(),
        format!("{}: cannot open: No such file or directory (os error 2)", none.display())
    );
    // A pipe is not opened, for that would wait.
    let device = open(Path::new("/dev/zero"), WeightChoice::default(), ImageAccess::default()).unwrap_err();
    assert_eq!(device, "FILE: is neither a model directory, nor a GGUF file, nor an image");
}

#[test]
fn a_head_that_says_it_is_huge_is_refused_before_memory_is_taken() {
    let (_directory, file, _) = written("huge");
    let mut header = fs::read(&file).unwrap()[..HEADER_BYTES].to_vec();
    let total = 1_u64 << 40;
    header[16..24].copy_from_slice(&total.to_le_bytes());
    header[32..40].copy_from_slice(&(total / 2).to_le_bytes());
    fs::remove_file(&file).unwrap();
    fs::write(&file, header).unwrap();
    // A file with a hole, which takes no disk.
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(total).unwrap();
    for access in ALL {
        let told = open(&file, WeightChoice::default(), access).unwrap_err();
        assert_eq!(
            told,
            format!(
                "FILE: length of the head in bytes: found {}, expected at most {HEAD_BYTES_MAX}",
                total / 2
            )
        );
    }
}

#[test]
fn a_head_stays_what_it_was_when_the_file_is_written() {
    let (_directory, file, loaded) = written("rewritten");
    let open = |copy| {
        let access = ImageAccess { copy, verify: false };
        load_image(&file, WeightChoice::default(), access, &Serial, &NoProgress).unwrap()
    };
    let (mapped, copied) = (open(false), open(true));
    // In place, as nobody should. No weight is read after it.
    let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
    file.write_all_at(&vec![0xff; loaded.image().len()], 0).unwrap();
    for model in [&mapped, &copied] {
        assert_eq!(model.model().config(), loaded.model().config());
        assert_eq!(model.file("tokenizer.json"), Some(&b"{\"a\": 1}"[..]));
    }
    let head = loaded.model().layout().head_bytes();
    assert!(copied.image()[head..] == loaded.image()[head..], "a copy has nothing to do with the file");
}

#[test]
fn a_model_that_is_replaced_is_still_served() {
    let (_directory, file, loaded) = written("replaced");
    let mapped = open(&file, WeightChoice::default(), ImageAccess::default()).unwrap();
    let second = open(&file, WeightChoice::default(), ImageAccess::default()).unwrap();
    // The image that is being served, packed over itself.
    write_image(&mapped, &file, &Threads).unwrap();
    fs::remove_file(&file).unwrap();
    let head = loaded.model().layout().head_bytes();
    for model in [mapped, second] {
        assert!(model.image()[head..] == loaded.image()[head..]);
    }
}

#[test]
fn places_that_cannot_be_written_are_told_at_once() {
    let directory = TemporaryDirectory::new("places");
    let told = |path: &Path| {
        NewImage::at(path).unwrap_err().to_string().replace(&path.display().to_string(), "FILE")
    };
    assert_eq!(told(directory.path()), "FILE: is a directory, expected the name of a file to write");
    assert_eq!(told(Path::new("/dev/null")), "FILE: is there and is not a regular file");
    assert_eq!(told(Path::new("..")), "FILE: is a directory, expected the name of a file to write");
    let none = directory.path().join("none/model.image");
    assert_eq!(told(&none), "FILE: cannot write: No such file or directory (os error 2)");
    fs::write(directory.path().join("file"), "").unwrap();
    assert_eq!(told(&directory.path().join("file/x")), "FILE: cannot write: Not a directory (os error 20)");
    // A link to a file is a file, and nothing is left behind.
    symlink(directory.path().join("file"), directory.path().join("link")).unwrap();
    NewImage::at(&directory.path().join("link")).unwrap();
    NewImage::at(&directory.path().join("new")).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}
