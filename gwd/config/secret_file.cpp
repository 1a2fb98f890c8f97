#include "gwd/config/secret_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <format>

#include "base/fd.hpp"

namespace gw::config {

std::string resolve_path(const std::string& file, const std::string& base_dir) {
  return (std::filesystem::path(base_dir) / file).lexically_normal().string();
}

Result<Secret> read_secret_file(const std::string& path) {
  // O_NONBLOCK: a FIFO in the file's place must not hang gwd.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT) return fail(Errc::kNotFound, std::format("{} does not exist", path));
    return fail_errno(std::format("cannot open {}", path));
  }
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return fail_errno(std::format("cannot read {}", path));
  if (!S_ISREG(st.st_mode)) return fail(Errc::kInvalidArgument, std::format("{} is not a regular file", path));
  if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return fail(Errc::kPermission, std::format("{} has mode {:04o}: others than its owner may use it; chmod 600 {}",
                                               path, static_cast<unsigned>(st.st_mode & 07777U), path));
  // Two bytes more than allowed: the newline, and one to see that it is too long.
  std::array<char, kMaxSecretBytes + 2> buffer{};
  std::size_t size = 0;
  ssize_t n = 0;
  while (size < buffer.size() && (n = ::read(fd.get(), buffer.data() + size, buffer.size() - size)) > 0)
    size += static_cast<std::size_t>(n);
  const int read_error = errno;
  if (n >= 0 && size > 0 && buffer[size - 1] == '\n') --size;
  Secret secret(std::string_view(buffer.data(), std::min(size, kMaxSecretBytes)));
  wipe(buffer.data(), buffer.size());
  if (n < 0) return fail_errno(std::format("cannot read {}", path), read_error);
  if (size == 0) return fail(Errc::kInvalidArgument, std::format("{} is empty", path));
  if (size > kMaxSecretBytes)
    return fail(Errc::kInvalidArgument, std::format("{} is longer than {} bytes", path, kMaxSecretBytes));
  return secret;
}

}  // namespace gw::config
