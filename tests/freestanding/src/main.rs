//! Runs the core's self-test with nothing beneath it: x86-64 Linux, three system calls, static
//! memory.
//!
//! Prints the hash on every path the CPU has and exits with 0 if all are the stored one.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use verbatim_core::isa::Isa;
use verbatim_core::pool::Serial;
use verbatim_core::selftest;

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym main,
);

#[repr(align(64))]
struct Memory([u8; 2 << 20]);

static mut MEMORY: Memory = Memory([0; 2 << 20]);

extern "C" fn main() -> ! {
    // SAFETY: the only thread, and the only reference.
    let memory = unsafe { &mut (*(&raw mut MEMORY)).0 };
    let mut code = 0;
    if matrix_unit_is_ours() {
        // SAFETY: the kernel just said so.
        unsafe { Isa::allow_matrix_unit() };
    }
    for isa in Isa::available().iter() {
        write(isa.name().as_bytes());
        match selftest::run(*isa, &Serial, memory) {
            Ok(hash) => {
                let mut digits = *b": 0x0000000000000000\n";
                for (i, digit) in digits[4..20].iter_mut().enumerate() {
                    *digit = b"0123456789abcdef"[(hash >> (60 - 4 * i)) as usize & 15];
                }
                write(&digits);
                if hash != selftest::EXPECTED {
                    code = 1;
                }
            }
            Err(_) => {
                write(b": the self-test did not run\n");
                code = 2;
            }
        }
    }
    exit(code)
}

fn matrix_unit_is_ours() -> bool {
    let result: isize;
    // SAFETY: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) touches no memory.
    unsafe {
        asm!("syscall", inlateout("rax") 158_isize => result, in("rdi") 0x1023_usize, in("rsi") 18_usize,
             lateout("rcx") _, lateout("r11") _);
    }
    result == 0
}

fn write(bytes: &[u8]) {
    // SAFETY: write(1, pointer, length) reads the slice.
    unsafe {
        asm!("syscall", inlateout("rax") 1_usize => _, in("rdi") 1, in("rsi") bytes.as_ptr(), in("rdx") bytes.len(),
             lateout("rcx") _, lateout("r11") _);
    }
}

fn exit(code: usize) -> ! {
    // SAFETY: exit_group does not return.
    unsafe { asm!("syscall", in("rax") 231_usize, in("rdi") code, options(noreturn)) }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    write(b"panic\n");
    exit(3)
}

/// The precompiled `core` refers to it; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

// What compilers call without being asked. String instructions keep them from being turned into
// calls of themselves.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise is memcpy's.
    unsafe { asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= len {
        // SAFETY: forwards is right where the destination does not start within the source.
        return unsafe { memcpy(to, from, len) };
    }
    // SAFETY: the caller's promise is memmove's; backwards, from the last byte.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _, inout("rdi") to.add(len).sub(1) => _,
             inout("rsi") from.add(len).sub(1) => _);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise is memset's.
    unsafe { asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") byte as u8) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for i in 0..len {
        // SAFETY: the caller's promise is memcmp's.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's promise is bcmp's.
    unsafe { memcmp(a, b, len) }
}
