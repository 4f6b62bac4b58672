//! Descriptors that whoever started the process has opened for it, and says by number.
use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::os::fd::FromRawFd;

/// The descriptor of this number, to write to. One beyond standard error belongs to the file that
/// is returned, which closes it; standard output and standard error stay open beside it. To be
/// called before anything else of the process has opened a descriptor, once for a number.
///
/// # Errors
/// Nothing is open under this number, or it cannot be written to.
pub fn handed_over(number: i32) -> io::Result<File> {
    // SAFETY: no memory is involved; a number under which nothing is open is an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags == -1 {
        return Err(Error::last_os_error());
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(Error::new(ErrorKind::InvalidInput, "it is open for reading only"));
    }
    let own = if number > libc::STDERR_FILENO {
        number
    } else {
        // SAFETY: no memory is involved; the copy is a number of its own.
        match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) } {
            -1 => return Err(Error::last_os_error()),
            copy => copy,
        }
    };
    // SAFETY: it is open, as was just asked, and nothing else of this process owns it: it is a copy
    // that was just made, or came from outside and is taken before anything was opened here.
    Ok(unsafe { File::from_raw_fd(own) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_descriptor_is_taken_by_its_number_and_closed_with_its_file() {
        let (mut theirs, ours) = io::pipe().expect("a pipe");
        let mut file = handed_over(ours.into_raw_fd()).expect("it is open");
        file.write_all(b"ready").expect("there is room");
        drop(file);
        let mut text = String::new();
        theirs.read_to_string(&mut text).expect("the end is seen");
        assert_eq!(text, "ready");
    }

    #[test]
    fn what_is_closed_or_read_only_is_refused() {
        let reading = File::open("/dev/null").expect("Linux has it");
        let number = reading.into_raw_fd();
        assert_eq!(handed_over(number).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(handed_over(i32::MAX).is_err() && handed_over(-1).is_err());
        // Standard error stays open when its copy is closed.
        drop(handed_over(libc::STDERR_FILENO).expect("it is open"));
        drop(handed_over(libc::STDERR_FILENO).expect("it is open still"));
    }
}
