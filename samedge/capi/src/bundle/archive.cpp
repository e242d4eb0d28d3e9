#include "bundle/archive.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/failure.hpp"
#include "bundle/names.hpp"

namespace samedge {

namespace {

constexpr char kAgain[] = "copy it again, or export it again";

[[noreturn]] void no_zip(const std::string &what, zip_error_t &error) {
  const std::string why = zip_error_strerror(&error);
  zip_error_fini(&error);
  fail(SAMEDGE_ERROR_BUNDLE, "%s is not a whole zip file (%s); %s", what.c_str(), why.c_str(), kAgain);
}

bool leads_outside(const std::string &name) {
  if (begins_with(name, "/") || name.find('\\') != std::string::npos || name.find(':') != std::string::npos)
    return true;
  const std::vector<std::string> parts = parts_of(name);
  return std::find(parts.begin(), parts.end(), "..") != parts.end();
}

struct CloseFile {
  void operator()(zip_file_t *file) const noexcept { zip_fclose(file); }
};

}  // namespace

Archive::Archive(Descriptor file, const std::string &what) : what_(what) {
  zip_error_t error;
  zip_error_init(&error);
  std::FILE *stream = ::fdopen(file.get(), "rb");
  if (stream == nullptr) {
    zip_error_set(&error, ZIP_ER_OPEN, errno);
    no_zip(what_, error);
  }
  static_cast<void>(file.release());  // it is the stream's now
  zip_source_t *source = zip_source_filep_create(stream, 0, -1, &error);
  if (source == nullptr) {
    static_cast<void>(std::fclose(stream));
    no_zip(what_, error);
  }
  open(source, error);
}

Archive::Archive(const void *data, std::size_t size, const std::string &what) : what_(what) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t *source = zip_source_buffer_create(data, size, 0, &error);
  if (source == nullptr) no_zip(what_, error);
  open(source, error);
}

Archive::~Archive() {
  if (zip_ != nullptr) zip_discard(zip_);
}

void Archive::open(zip_source_t *source, zip_error_t &error) {
  zip_ = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (zip_ == nullptr) {
    zip_source_free(source);  // with its stream
    no_zip(what_, error);
  }
  zip_error_fini(&error);
  list();
}

void Archive::list() {
  try {
    const zip_int64_t count = zip_get_num_entries(zip_, 0);
    for (zip_int64_t at = 0; at < count; ++at) {
      const auto index = static_cast<zip_uint64_t>(at);
      zip_stat_t info;
      const char *raw = zip_get_name(zip_, index, ZIP_FL_ENC_RAW);
      if (raw == nullptr || zip_stat_index(zip_, index, 0, &info) != 0 || (info.valid & ZIP_STAT_SIZE) == 0)
        fail(SAMEDGE_ERROR_BUNDLE, "%s is damaged (%s); %s", what_.c_str(), zip_strerror(zip_), kAgain);
      const std::string name = raw;
      if (leads_outside(name))
        fail(SAMEDGE_ERROR_BUNDLE,
             "%s wants to write outside its folder ('%s'): it is not safe to unpack. Do not "
             "use it",
             what_.c_str(), shown(name).c_str());
      if (ends_with(name, "/")) continue;
      if (!entries_.emplace(name, Entry{index, info.size}).second)
        fail(SAMEDGE_ERROR_BUNDLE, "%s holds a file twice; export the bundle again", what_.c_str());
    }
  } catch (...) {
    zip_discard(zip_);
    zip_ = nullptr;
    throw;
  }
}

Bytes Archive::read(const Entry &entry, const std::string &name) const {
  const std::unique_ptr<zip_file_t, CloseFile> file(zip_fopen_index(zip_, entry.index, 0));
  if (file == nullptr)
    fail(SAMEDGE_ERROR_BUNDLE, "%s: %s cannot be read (%s); %s", what_.c_str(), name.c_str(),
         zip_strerror(zip_), kAgain);
  Bytes bytes = bytes_of_size(static_cast<std::size_t>(entry.size));
  std::size_t at = 0;
  for (;;) {
    std::uint8_t more = 0;  // the end is asked for, too: its checksum is looked at there
    std::uint8_t *target = at < bytes.size ? bytes.data.get() + at : &more;
    const std::size_t wanted = at < bytes.size ? std::min<std::size_t>(bytes.size - at, 1U << 24U) : 1;
    const zip_int64_t count = zip_fread(file.get(), target, wanted);
    if (count < 0)
      fail(SAMEDGE_ERROR_BUNDLE, "%s: %s is damaged (%s); %s", what_.c_str(), name.c_str(),
           zip_file_strerror(file.get()), kAgain);
    if ((count == 0) != (at == bytes.size))
      fail(SAMEDGE_ERROR_BUNDLE, "%s: %s has not the size that it says; %s", what_.c_str(), name.c_str(),
           kAgain);
    if (count == 0) return bytes;
    at += static_cast<std::size_t>(count);
  }
}

}  // namespace samedge
