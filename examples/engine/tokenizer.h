// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_TOKENIZER_H_
#define EXAMPLES_ENGINE_TOKENIZER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv::engine {

/// Text to tokens and back: byte-level byte pair encoding (GPT-2, SmolLM2).
/// Decoding what was encoded gives the same bytes, but for those that the
/// vocabulary does not have: they are left out, as by Hugging Face's
/// tokenizers. Immutable.
class Tokenizer {
 public:
  /// From a tokenizer.json of Hugging Face. InvalidArgument, one line that
  /// begins with `source`, for what is no such file or needs another method.
  static absl::StatusOr<Tokenizer> Parse(std::string_view text,
                                         std::string_view source);
  /// Each byte is a token, and one more ends a text: for `MakeTiny`.
  static Tokenizer Bytes();

  /// `special`: names of special tokens in the text, such as <|im_end|>, stand
  /// for the tokens; otherwise they are text as any other.
  [[nodiscard]] std::vector<TokenId> Encode(std::string_view text,
                                            bool special) const;
  /// The bytes of a token, which need not be whole code points; none for a
  /// special token or one that is not in the vocabulary.
  [[nodiscard]] std::string_view Decode(TokenId token) const;
  /// The special token with a name.
  [[nodiscard]] std::optional<TokenId> FindSpecial(std::string_view name) const;
  [[nodiscard]] std::int32_t vocab_size() const {
    return static_cast<std::int32_t>(bytes_of_.size());
  }

 private:
  struct Merge {
    std::int32_t rank = 0;  // less: sooner
    TokenId result = 0;
  };
  using Pair = std::pair<TokenId, TokenId>;

  // Fills a Tokenizer, or says what is wrong with the file.
  friend class TokenizerParser;

  void EncodeText(std::string_view text, std::vector<TokenId>& tokens) const;
  void EncodePiece(std::string_view piece, std::vector<TokenId>& tokens) const;

  std::vector<std::string> bytes_of_;  // [tokens]
  TokenId token_of_byte_[256] = {};
  absl::flat_hash_map<Pair, Merge> merges_;
  std::map<std::string, TokenId, std::less<>> special_;
  bool split_digits_ = false;
};

/// The length of the first piece of `text`, which is not empty: what GPT-2's
/// pattern matches, 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|
/// ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+. No token goes beyond a piece.
[[nodiscard]] std::size_t FirstPieceLength(std::string_view text);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_TOKENIZER_H_
