# The project's build helpers: one warning set, one sanitizer switch, one way to declare a package and a test.

set(GW_SANITIZE "" CACHE STRING "Sanitizers for every target, e.g. address,undefined or thread")
option(GW_CLANG_TIDY "Run clang-tidy on every file" OFF)
option(GW_FUZZ "Build the libFuzzer targets (needs clang)" OFF)

add_library(gw_options INTERFACE)
target_compile_options(gw_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual
  -Wcast-align -Wformat=2 -Wimplicit-fallthrough -Werror
  # Designated initializers name what differs from the defaults; that is their point.
  -Wno-missing-field-initializers
  # Packet code reads headers in place; strict aliasing buys nothing measurable there (datapath findings).
  -fno-strict-aliasing -fno-omit-frame-pointer -fstack-protector-strong
  $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>)
# GCC 14 reports false -Wmaybe-uninitialized/-Wnull-dereference through std::expected and coroutines at -O2,
# and -Wmismatched-new-delete for coroutine frames that Boost.Asio allocates.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  target_compile_options(gw_options INTERFACE -Wno-maybe-uninitialized
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-mismatched-new-delete -fcoroutines>)
endif()
if(GW_SANITIZE)
  target_compile_options(gw_options INTERFACE -fsanitize=${GW_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(gw_options INTERFACE -fsanitize=${GW_SANITIZE})
  # Asio and ebpf/esp use fences. TSan does not model them; what they order is written by one thread only.
  if(GW_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(gw_options INTERFACE -Wno-tsan)
  endif()
endif()
# Coverage of the code under test, not only of the fuzz target, is what steers libFuzzer.
if(GW_FUZZ)
  target_compile_options(gw_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(GW_CLANG_TIDY)
  find_program(CLANG_TIDY clang-tidy REQUIRED)
  set(GW_TIDY_COMMAND ${CLANG_TIDY} --quiet --extra-arg=-Wno-unknown-warning-option)
endif()

# gw_package(NAME SOURCES... [PUBLIC targets] [PRIVATE targets]): static library gw_NAME, alias gw::NAME.
# Headers are included from the top: "base/result.hpp".
function(gw_package name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(gw_${name} STATIC ${ARG_SOURCES})
  add_library(gw::${name} ALIAS gw_${name})
  target_include_directories(gw_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(gw_${name} PUBLIC ${ARG_PUBLIC} PRIVATE gw_options ${ARG_PRIVATE})
  if(GW_CLANG_TIDY)
    set_target_properties(gw_${name} PROPERTIES CXX_CLANG_TIDY "${GW_TIDY_COMMAND}")
  endif()
endfunction()

# gw_program(NAME SOURCES... LINK targets): an executable in build/<preset>/bin.
function(gw_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE gw_options ${ARG_LINK})
  target_compile_definitions(${name} PRIVATE GW_VERSION="${PROJECT_VERSION}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  if(GW_CLANG_TIDY)
    set_target_properties(${name} PROPERTIES CXX_CLANG_TIDY "${GW_TIDY_COMMAND}")
  endif()
endfunction()

# gw_test(NAME SOURCES... LINK targets [LABELS ...]): one GoogleTest binary = one ctest test.
function(gw_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE gw_options ${ARG_LINK} GTest::gtest_main GTest::gmock)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
endfunction()
