#!/usr/bin/env python3
"""Checks the include rules: dependencies point down only, and systems stay in their rooms.

net -> buffer, loop -> backend seam <- backends. See kRooms below for which room may include which.
"""
import pathlib
import re
import sys

kRoot = pathlib.Path(__file__).resolve().parent.parent

# Room: (folder, what its files may include beside the public headers). The first folder that matches a file is its room.
kRooms = [
    ('include/weir/', []),
    ('src/os/', ['src/os/']),
    ('src/buffer/', ['src/buffer/', 'src/os/']),
    ('src/loop/', ['src/loop/', 'src/os/', 'backends/builtin.h']),
    ('src/net/', ['src/net/', 'src/buffer/', 'src/loop/', 'src/os/']),
    ('src/task/', ['src/task/', 'src/loop/', 'src/buffer/', 'src/os/']),
    ('src/service/', ['src/']),
    ('src/', ['src/']),
    ('backends/readiness/', ['backends/readiness/', 'src/os/']),
    ('backends/epoll/', ['backends/epoll/', 'backends/readiness/', 'src/os/']),
    ('backends/kqueue/', ['backends/kqueue/', 'backends/readiness/', 'src/os/']),
    ('backends/', ['{folder}', 'src/os/']),
    ('examples/', ['examples/']),
    ('perf/suite/', ['perf/suite/', 'examples/']),
    ('perf/', ['perf/', 'src/', 'backends/']),
    ('tests/', ['tests/', 'src/', 'backends/', 'examples/', 'perf/']),
]

# Where a system's own headers and macros belong. Elsewhere only C++'s and, in tests and programs, libraries' headers.
kSystemRooms = re.compile(r'(src/os|backends)/(?!readiness/)[a-z_]+/')
kPrograms = ('tests/', 'perf/', 'examples/')
kSystemMacro = re.compile(r'\b(__linux__|__linux|__gnu_linux__|_WIN32|_WIN64|__MINGW\w+__|__APPLE__|__unix__|'
                          r'__(?:Free|Open|Net)BSD__|__DragonFly__|__ANDROID__)\b')
kStandard = set('''
algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes climits
clocale cmath compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint cstdio
cstdlib cstring ctime cwchar deque exception execution filesystem format forward_list fstream functional future
initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory memory_resource mutex
new numbers numeric optional ostream queue random ranges ratio regex scoped_allocator semaphore set shared_mutex
source_location span sstream stack stdexcept stop_token streambuf string string_view syncstream system_error thread
tuple type_traits typeindex typeinfo unordered_map unordered_set utility valarray variant vector version'''.split())
kAlso = {'sanitizer/asan_interface.h', 'sanitizer/tsan_interface.h', 'sanitizer/lsan_interface.h'}  # compilers' own


def allowed_folders(path):
    for folder, others in kRooms:
        if path.startswith(folder):
            own = path.rsplit('/', 1)[0] + '/'
            return [other.format(folder=own) for other in others]
    raise SystemExit(f'{path} lies in no room of scripts/check_includes.py')


def faults_of(path):
    text = (kRoot / path).read_text()
    in_system_room = kSystemRooms.match(path) is not None
    for number, line in enumerate(text.splitlines(), 1):
        where = f'{path}:{number}'
        directive = re.match(r'\s*#\s*(\w+)\s*(.*)', line)
        if not directive:
            continue
        kind, rest = directive.groups()
        if kind in ('if', 'ifdef', 'ifndef', 'elif') and not in_system_room and kSystemMacro.search(rest):
            yield f'{where}: asks for a system outside backends/<name>/ and src/os/<system>/: {line.strip()}'
        if kind != 'include':
            continue
        target = rest[1:].split('"')[0].split('>')[0]
        if rest.startswith('"'):
            if target.startswith('weir/') or ('/' not in target and (kRoot / path).parent.joinpath(target).exists()):
                continue
            if not any(target.startswith(folder) for folder in allowed_folders(path)):
                yield f'{where}: may not include "{target}" (allowed: weir/, {", ".join(allowed_folders(path))})'
        elif target.startswith('absl/') and not path.startswith(kPrograms):
            if path.startswith('include/') and path != 'include/weir/absl_status.h':
                yield f'{where}: only include/weir/absl_status.h may name abseil in an installed header'
        elif not in_system_room and not path.startswith(kPrograms) and target not in kStandard | kAlso:
            yield f'{where}: <{target}> is not a C++ header; it belongs into src/os/<system>/ or backends/<name>/'


def main():
    sources = [path.relative_to(kRoot).as_posix()
               for room in ('include', 'src', 'backends', 'tests', 'perf', 'examples')
               for path in sorted((kRoot / room).rglob('*')) if path.suffix in ('.h', '.cc')]
    faults = [fault for path in sources if not path.startswith('perf/peers/') for fault in faults_of(path)]
    print('\n'.join(faults + [f'{len(faults)} faults in {len(sources)} files']))
    return 1 if faults else 0


sys.exit(main())
