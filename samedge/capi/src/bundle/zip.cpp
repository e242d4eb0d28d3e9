// A bundle that is one zip file: samedge/bundle/archive.py. Python unpacks it into a cache for engines that
// map their files; here its entries are read into memory, one by one, when they are asked for.
#include <algorithm>
#include <mutex>

#include "base/failure.hpp"
#include "bundle/archive.hpp"
#include "bundle/folders.hpp"
#include "bundle/limits.hpp"
#include "bundle/names.hpp"

namespace samedge {

namespace {

class Zip : public Bundle {
 public:
  Zip(std::string path, Manifest manifest, std::unique_ptr<Archive> archive, std::string prefix)
      : Bundle(std::move(path), std::move(manifest)),
        archive_(std::move(archive)),
        prefix_(std::move(prefix)) {
    for (const auto &file : manifest_.files) found(file.first, file.second);
  }

  std::string engines_folder() const override { return {}; }

  Bytes read(const std::string &file) const override {
    const FileEntry &entry = listed(file);
    const Archive::Entry &packed = found(file, entry);
    Bytes bytes;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      bytes = archive_->read(packed, file);
    }
    check_hash(file, entry, bytes);
    return bytes;
  }

 private:
  const Archive::Entry &found(const std::string &file, const FileEntry &entry) const {
    const auto packed = archive_->entries().find(prefix_ + file);
    if (packed == archive_->entries().end())
      fail(SAMEDGE_ERROR_BUNDLE, "%s: the zipped bundle lacks %s; copy or export it again", name_.c_str(),
           file.c_str());
    if (packed->second.size != entry.bytes)
      fail(SAMEDGE_ERROR_BUNDLE,
           "%s: %s in the zipped bundle is not what its manifest says; copy it again, or "
           "export it again",
           name_.c_str(), file.c_str());
    return packed->second;
  }

  std::unique_ptr<Archive> archive_;
  std::string prefix_;
  mutable std::mutex mutex_;
};

// Whether a name is the manifest's: at the top, or in one folder there.
bool is_manifest(const std::string &name) {
  const std::vector<std::string> parts = parts_of(name);
  return parts.size() <= 2 && parts.back() == kManifestFile;
}

}  // namespace

std::shared_ptr<const Bundle> open_zip(const std::string &path, const std::string &name, Descriptor file,
                                       std::uint64_t size) {
  auto archive = std::make_unique<Archive>(std::move(file), name);
  const Archive::Entry *entry = nullptr;
  std::string prefix;
  std::size_t manifests = 0;
  for (const auto &item : archive->entries()) {
    if (!is_manifest(item.first)) continue;
    ++manifests;
    entry = &item.second;
    prefix = item.first.substr(0, item.first.size() - (sizeof kManifestFile - 1));
  }
  if (manifests != 1)
    fail(SAMEDGE_ERROR_BUNDLE,
         "%s is a zip file but no bundle: it has %s %s; make a bundle with 'samedge export "
         "... --zip'",
         name.c_str(), manifests == 0 ? "no" : text("%zu", manifests).c_str(), kManifestFile);
  if (entry->size > kManifestBytes)
    fail(SAMEDGE_ERROR_BUNDLE, "%s: %s is too large; export the bundle again", name.c_str(), kManifestFile);
  const Bytes bytes = archive->read(*entry, kManifestFile);
  Manifest manifest = parse_manifest({reinterpret_cast<const char *>(bytes.data.get()), bytes.size});
  const std::uint64_t most = std::max(kSmallBytes, kBundleTimes * size);
  std::uint64_t unpacked = 0;
  for (const auto &listed : manifest.files) {
    unpacked = std::min(unpacked, most) + listed.second.bytes;  // of a million such entries: no overflow
    if (unpacked > most)
      fail(SAMEDGE_ERROR_BUNDLE,
           "%s would unpack to more than %llu bytes, which no bundle of its size does; export "
           "it again",
           name.c_str(), static_cast<unsigned long long>(most));
  }
  return std::make_shared<Zip>(path, std::move(manifest), std::move(archive), std::move(prefix));
}

}  // namespace samedge
