// The wire format of protobuf, as far as ONNX files use it; strict, and bounded: samedge/bundle/graphs/
// wire.py. Nothing is copied: bytes are views of the buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace samedge {

// The bytes are no message that samedge writes.
class WireError : public std::exception {
 public:
  explicit WireError(std::string message) : message_(std::move(message)) {}
  const char *what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

enum class Wire : std::int8_t {
  varint = 0,
  bytes = 2,
  fixed32 = 5,
  numbers = -1  // varint or bytes: a repeated integer, alone or packed
};

struct WireField {
  std::uint32_t number = 0;
  Wire kind = Wire::varint;
  std::uint64_t value = 0;
  std::string_view bytes;
};

// A field that a message may have.
struct KnownField {
  std::uint32_t number;
  Wire kind;
  bool many;
};

// How many fields may still be read, over all messages of a file: time is bounded with it.
class WireBudget {
 public:
  explicit WireBudget(std::uint64_t fields) : left_(fields) {}
  void take();  // throws WireError: there were too many

 private:
  std::uint64_t left_;
};

// The integer at the beginning of `data`, of up to 64 bits, which is taken off. Throws WireError.
std::uint64_t take_varint(std::string_view &data);

// The fields of a message, in its order.
class WireReader {
 public:
  // known: of the message, up to 64; what: it is called so in messages. Both outlive the reader.
  template <std::size_t N>
  WireReader(std::string_view data, const KnownField (&known)[N], const char *what, WireBudget &budget)
      : data_(data), known_(known), count_(N), what_(what), budget_(budget) {
    static_assert(N <= 64, "a bit for each");
  }

  // Whether there was one more. Throws WireError: damaged, unknown, or a second one where one may be.
  bool next(WireField &field);

 private:
  std::string_view data_;
  const KnownField *known_;
  std::size_t count_;
  const char *what_;
  WireBudget &budget_;
  std::uint64_t seen_ = 0;  // positions in `known`
};

}  // namespace samedge
