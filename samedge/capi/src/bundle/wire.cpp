#include "bundle/wire.hpp"

#include "base/failure.hpp"

namespace samedge {

void WireBudget::take() {
  if (left_ == 0) throw WireError("it has more parts than any graph of samedge's");
  --left_;
}

std::uint64_t take_varint(std::string_view &data) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (data.empty()) throw WireError("it ends in the middle of a number");
    const auto byte = static_cast<unsigned char>(data.front());
    data.remove_prefix(1);
    if (shift == 63 && byte > 1) break;
    value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
    if (byte < 0x80) return value;
  }
  throw WireError("a number has more than 64 bits");
}

bool WireReader::next(WireField &field) {
  if (data_.empty()) return false;
  budget_.take();
  const std::uint64_t tag = take_varint(data_);
  if (tag >> 3U == 0 || tag >> 32U != 0)
    throw WireError(text("a field has the number %llu", static_cast<unsigned long long>(tag >> 3U)));
  field = WireField();
  field.number = static_cast<std::uint32_t>(tag >> 3U);
  field.kind = static_cast<Wire>(tag & 7U);
  if (field.kind == Wire::varint) {
    field.value = take_varint(data_);
  } else {
    if (field.kind != Wire::bytes && field.kind != Wire::fixed32)
      throw WireError(text("a field has the unknown type %u", static_cast<unsigned>(tag & 7U)));
    const std::uint64_t size = field.kind == Wire::bytes ? take_varint(data_) : 4;
    if (size > data_.size()) throw WireError("it ends in the middle of a field");
    field.bytes = data_.substr(0, static_cast<std::size_t>(size));
    data_.remove_prefix(static_cast<std::size_t>(size));
  }
  for (std::size_t i = 0; i < count_; ++i) {
    const KnownField &known = known_[i];
    if (known.number != field.number) continue;
    if (known.kind != field.kind && (known.kind != Wire::numbers || field.kind == Wire::fixed32))
      throw WireError(text("%s has a part (number %u) of another type", what_, field.number));
    const std::uint64_t bit = std::uint64_t{1} << i;
    if (!known.many && (seen_ & bit) != 0)
      throw WireError(text("%s has a part (number %u) twice", what_, field.number));
    seen_ |= bit;
    return true;
  }
  throw WireError(text("%s has a part (number %u) that samedge never writes", what_, field.number));
}

}  // namespace samedge
