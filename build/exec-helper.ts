/**
 * Makes the program `exec` of a stage1 image: a static executable of 300 bytes, as which the launcher executes the app
 * (stage2/launch.ts says why it does not do so itself). It is written here in machine code (x86-64), since the project
 * has no compiler for a program without a loader and libraries.
 *
 *     exec MESSAGES PATH ARGV0 ARGUMENT...
 *
 * It becomes the program PATH by execve(2), with the arguments from ARGV0 on and with its own environment. If that
 * fails, it writes a message to standard error, and ends with 203 (LAUNCH_EXIT.exec).
 *
 * The launcher gives it the messages, because it can open no file of stage 1 any more. MESSAGES is a list of records:
 * an errno as a byte, the message, and a byte 1 as its end. The program takes the first record of the errno that it
 * got. The last record has 0xff, and matches every errno: the program writes its message, the errno in decimal, and a
 * newline.
 *
 * The first record must be ENOENT's (2), otherwise the program ends at once. This closes a loop: a script that begins
 * with `#!/proc/self/exe` names this program as its interpreter. The kernel then starts it with other arguments, and it
 * would execute the script again, for ever.
 */

import { LAUNCH_EXIT } from "../shared/contract/stage1-root.ts";

/**
 * Instructions, each with its bytes in hexadecimal. At the start the stack has argc, argv, a null pointer, and envp.
 * rbx keeps the stack pointer of the start, r12d the errno of execve, and r13d the errno of the record that is read.
 */
const CODE: readonly [bytes: string, instruction: string][] = [
  ["48 89 e3", "mov rbx, rsp"],
  ["48 8b 0b", "mov rcx, [rbx]            ; argc"],
  ["48 8d 54 cb 10", "lea rdx, [rbx+rcx*8+16]   ; envp"],
  ["48 8b 73 08", "mov rsi, [rbx+8]          ; MESSAGES"],
  ["80 3e 02", "cmp byte [rsi], 2"],
  ["0f 85 8b 00 00 00", "jne exit"],
  ["48 8b 7b 10", "mov rdi, [rbx+16]         ; PATH"],
  ["48 8d 73 18", "lea rsi, [rbx+24]         ; ARGV0"],
  ["b8 3b 00 00 00", "mov eax, 59               ; execve"],
  ["0f 05", "syscall"],
  ["f7 d8", "neg eax"],
  ["41 89 c4", "mov r12d, eax             ; errno"],
  ["48 8b 73 08", "mov rsi, [rbx+8]          ; MESSAGES"],
  ["44 0f b6 2e", "record: movzx r13d, byte [rsi]"],
  ["48 ff c6", "inc rsi"],
  ["48 89 f2", "mov rdx, rsi"],
  ["80 3a 01", "text: cmp byte [rdx], 1"],
  ["74 05", "je end"],
  ["48 ff c2", "inc rdx"],
  ["eb f6", "jmp text"],
  ["41 80 fd ff", "end: cmp r13b, 0xff"],
  ["74 0b", "je found"],
  ["45 38 e5", "cmp r13b, r12b"],
  ["74 06", "je found"],
  ["48 8d 72 01", "lea rsi, [rdx+1]"],
  ["eb db", "jmp record"],
  ["48 29 f2", "found: sub rdx, rsi"],
  ["bf 02 00 00 00", "mov edi, 2"],
  ["b8 01 00 00 00", "mov eax, 1                ; write"],
  ["0f 05", "syscall"],
  ["41 80 fd ff", "cmp r13b, 0xff"],
  ["75 39", "jne exit"],
  ["4c 8d 44 24 f8", "lea r8, [rsp-8]"],
  ["41 c6 00 0a", "mov byte [r8], 10"],
  ["44 89 e0", "mov eax, r12d"],
  ["b9 0a 00 00 00", "mov ecx, 10"],
  ["31 d2", "digit: xor edx, edx"],
  ["f7 f1", "div ecx"],
  ["80 c2 30", "add dl, 48"],
  ["49 ff c8", "dec r8"],
  ["41 88 10", "mov [r8], dl"],
  ["85 c0", "test eax, eax"],
  ["75 ef", "jnz digit"],
  ["4c 89 c6", "mov rsi, r8"],
  ["48 8d 54 24 f9", "lea rdx, [rsp-7]"],
  ["4c 29 c2", "sub rdx, r8"],
  ["bf 02 00 00 00", "mov edi, 2"],
  ["b8 01 00 00 00", "mov eax, 1                ; write"],
  ["0f 05", "syscall"],
  [`bf ${LAUNCH_EXIT.exec.toString(16)} 00 00 00`, "exit: mov edi, 203"],
  ["b8 e7 00 00 00", "mov eax, 231              ; exit_group"],
  ["0f 05", "syscall"],
];

const [EHDR, PHDR] = [64, 56];
const BASE = 0x400000n;
/** elf(5): values of p_type, and bits of p_flags. */
const [PT_LOAD, PT_GNU_STACK] = [1, 0x6474e551];
const [X, W, R] = [1, 2, 4];

/** The executable (elf(5)): one segment, which is the whole file, and a stack that is not executable. */
export function execHelper(): Buffer {
  const code = Buffer.from(CODE.map(([bytes]) => bytes.replaceAll(" ", "")).join(""), "hex");
  const start = EHDR + 2 * PHDR;
  const file = Buffer.alloc(start + code.length);
  Buffer.from("7f454c46020101", "hex").copy(file);
  file.writeUInt16LE(2, 16); // e_type: ET_EXEC
  file.writeUInt16LE(62, 18); // e_machine: EM_X86_64
  file.writeUInt32LE(1, 20); // e_version
  file.writeBigUInt64LE(BASE + BigInt(start), 24); // e_entry
  file.writeBigUInt64LE(BigInt(EHDR), 32); // e_phoff
  file.writeUInt16LE(EHDR, 52); // e_ehsize
  file.writeUInt16LE(PHDR, 54); // e_phentsize
  file.writeUInt16LE(2, 56); // e_phnum
  programHeader(file, EHDR, PT_LOAD, R | X, { address: BASE, size: file.length, align: 4096 });
  programHeader(file, EHDR + PHDR, PT_GNU_STACK, R | W, { address: 0n, size: 0, align: 16 });
  code.copy(file, start);
  return file;
}

function programHeader(
  file: Buffer,
  at: number,
  type: number,
  flags: number,
  { address, size, align }: { address: bigint; size: number; align: number },
): void {
  file.writeUInt32LE(type, at);
  file.writeUInt32LE(flags, at + 4);
  file.writeBigUInt64LE(address, at + 16); // p_vaddr
  file.writeBigUInt64LE(address, at + 24); // p_paddr
  file.writeBigUInt64LE(BigInt(size), at + 32); // p_filesz
  file.writeBigUInt64LE(BigInt(size), at + 40); // p_memsz
  file.writeBigUInt64LE(BigInt(align), at + 48); // p_align
}
