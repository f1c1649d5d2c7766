// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SUPPORT_ATTENTION_PROBLEM_H_
#define TESTS_SUPPORT_ATTENTION_PROBLEM_H_

/// Sequences with keys, values and queries that depend on a seed and on what
/// they belong to alone, and a cache in blocks that holds them: for tests of
/// attention that lay the same numbers out in different ways.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/host_block_storage.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_layout.h"
#include "tests/support/attention_reference.h"

namespace pagedkv {

/// About normally distributed with standard deviation 1, in steps that fp16 and
/// bf16 represent exactly; of `seed` and a place.
inline float Sample(std::uint64_t seed, std::uint64_t place) {
  // SplitMix64.
  std::uint64_t x = seed * 0xd1342543de82ef95 + place * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  x ^= x >> 31;
  std::int32_t sum = 0;  // of four uniform in [-28, 27]
  for (int i = 0; i < 4; ++i, x >>= 16) {
    sum += static_cast<std::int32_t>((x & 0xffff) * 56 >> 16) - 28;
  }
  return static_cast<float>(sum) / 32;
}

/// Bytes of an element of rows.
inline std::int64_t RowElementBytes(KvDtype dtype) {
  return KvDtypeBits(dtype) / 8;
}

/// Writes one element; exact for what `Sample` gives.
inline void PutRowElement(KvDtype dtype, float value, std::byte* to) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto put = [to](auto x) { std::memcpy(to, &x, sizeof(x)); };
  if (dtype == KvDtype::kFp32) return put(value);
  if (dtype == KvDtype::kBf16)
    return put(static_cast<std::uint16_t>(bits >> 16));
  // fp16, normal numbers and 0: 10 bits of mantissa, exponents from 15.
  const std::uint32_t sign = bits >> 16 & 0x8000;
  const std::uint32_t rest =
      value == 0 ? 0 : ((bits & 0x7fffffff) >> 13) - ((127U - 15U) << 10);
  put(static_cast<std::uint16_t>(sign | rest));
}

/// Reads one element.
inline double GetRowElement(KvDtype dtype, const std::byte* from) {
  if (dtype == KvDtype::kFp32) {
    float value = 0;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
  if (dtype == KvDtype::kBf16) {
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
  }
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  double value = exponent == 0 ? std::ldexp(mantissa, -24)
                               : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) value = mantissa == 0 ? INFINITY : NAN;
  return bits >> 15 != 0 ? -value : value;
}

/// What a result of that type may lose by rounding to nearest.
inline double RowRounding(KvDtype dtype, double value) {
  switch (dtype) {
    case KvDtype::kFp16:
      return std::abs(value) * 0x1p-11 + 0x1p-25;
    case KvDtype::kBf16:
      return std::abs(value) * 0x1p-8;
    default:
      return 0;
  }
}

/// Rows outside of blocks that own their memory, all bits set at first: NaN.
class Rows {
 public:
  /// Heads and tokens are `gap` elements apart.
  Rows(std::int64_t tokens, std::int32_t heads, std::int32_t size,
       KvDtype dtype, std::int32_t gap = 0)
      : dtype_(dtype),
        head_stride_(size + gap),
        token_stride_(heads * head_stride_ + gap),
        bytes_(static_cast<std::size_t>(tokens * token_stride_ *
                                        RowElementBytes(dtype)),
               std::byte{0xff}) {}

  [[nodiscard]] std::byte* At(std::int64_t token, std::int64_t head,
                              std::int64_t i) {
    return bytes_.data() + Offset(token, head, i);
  }
  [[nodiscard]] double Get(std::int64_t token, std::int64_t head,
                           std::int64_t i) const {
    return GetRowElement(dtype_, bytes_.data() + Offset(token, head, i));
  }
  void Put(std::int64_t token, std::int64_t head, std::int64_t i, float value) {
    PutRowElement(dtype_, value, At(token, head, i));
  }
  [[nodiscard]] KvRows view() {
    return {bytes_.data(), dtype_, token_stride_, head_stride_};
  }
  [[nodiscard]] ConstKvRows const_view() const {
    return {bytes_.data(), dtype_, token_stride_, head_stride_};
  }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  [[nodiscard]] std::int64_t Offset(std::int64_t token, std::int64_t head,
                                    std::int64_t i) const {
    return (token * token_stride_ + head * head_stride_ + i) *
           RowElementBytes(dtype_);
  }

  KvDtype dtype_;
  std::int64_t head_stride_;
  std::int64_t token_stride_;
  std::vector<std::byte> bytes_;
};

struct AttentionOptions {
  KvLayer layer;
  BlockSize block_size{16};
  KvOrder order = KvOrder::kNhd;
  KvArrangement arrangement = KvArrangement::kSplit;
  std::int32_t alignment = 1;
  std::int32_t num_query_heads = 1;
  float softmax_scale = 1;
  std::int32_t window = 0;
  std::int32_t num_sink_tokens = 0;
  bool has_sink_logits = false;
  KvDtype query_dtype = KvDtype::kFp32;
  KvDtype output_dtype = KvDtype::kFp32;
  KvDtype residual_dtype = KvDtype::kFp32;
  /// Between the heads and tokens of rows.
  std::int32_t row_gap = 0;
  std::uint64_t seed = 1;
  /// Every so many channels of the keys, the mean is not 0 but 10 or -10, as in
  /// real keys (KIVI, arXiv 2402.02750, Fig. 2). 0: in none.
  std::int32_t outlier_period = 0;

  struct Sequence {
    std::uint64_t id = 0;  ///< what its numbers depend on
    std::int32_t num_tokens = 0;
    std::int32_t num_queries = 0;
    /// Its last tokens, in rows and not in blocks.
    std::int32_t num_residual = 0;
  };
  std::vector<Sequence> sequences;
};

/// Sequences in blocks that are ready for `PagedAttention`. What is not written
/// is NaN: slots behind a sequence, blocks of nobody, and the output. Blocks
/// before a window are not in the tables that the kernel sees.
class AttentionProblem {
 public:
  /// Fails the test if the layout is none.
  explicit AttentionProblem(AttentionOptions options)
      : options_(std::move(options)),
        query_(MakeQuery()),
        output_(MakeOutput()) {
    MakeTables();
    MakeStorage();
    for (std::size_t i = 0; i < options_.sequences.size(); ++i) Write(i);
    MakeArgs();
  }

  [[nodiscard]] const AttentionOptions& options() const { return options_; }
  /// To change before a run. What it refers to lives as long as the problem.
  [[nodiscard]] PagedAttentionArgs& args() { return args_; }
  [[nodiscard]] Rows& output() { return output_; }
  [[nodiscard]] std::int32_t first_row(std::size_t sequence) const {
    return query_begin_[sequence];
  }
  [[nodiscard]] std::int32_t value_size() const {
    return options_.layer.latent ? options_.layer.key.head_size
                                 : options_.layer.value.head_size;
  }
  [[nodiscard]] float SinkLogit(std::int32_t head) const {
    return options_.has_sink_logits
               ? Sample(options_.seed + 3, static_cast<std::uint64_t>(head))
               : -std::numeric_limits<float>::infinity();
  }
  [[nodiscard]] const Rows& query() const { return query_; }
  [[nodiscard]] Rows& query() { return query_; }
  [[nodiscard]] const BlockStorage& storage() const { return *storage_; }
  [[nodiscard]] const std::vector<BlockId>& full_table(std::size_t i) const {
    return full_tables_[i];
  }

  /// The elements of one query's output, as they are in memory.
  [[nodiscard]] std::vector<std::byte> OutputBytes(std::int64_t row,
                                                   std::int64_t head) {
    const std::byte* begin = output_.At(row, head, 0);
    return {begin,
            begin + value_size() * RowElementBytes(options_.output_dtype)};
  }

  [[nodiscard]] const KvTensorView& view(KvRole role) const {
    return role == KvRole::kKey ? args_.key : args_.value;
  }

  /// A sequence's vectors as they are kept, dequantised:
  /// [token][head][element].
  [[nodiscard]] std::vector<float> Dequantized(KvRole role,
                                               std::size_t sequence) const {
    const KvTensor& tensor = view(role).tensor;
    const std::int64_t tokens = NumInBlocks(sequence);
    std::vector<float> result(
        static_cast<std::size_t>(tokens * tensor.heads * tensor.head_size));
    const absl::Status status =
        GatherKv(view(role), full_tables_[sequence], 0, tokens,
                 {.data = reinterpret_cast<std::byte*>(result.data()),
                  .dtype = KvDtype::kFp32,
                  .token_stride = std::int64_t{tensor.heads} * tensor.head_size,
                  .head_stride = tensor.head_size});
    EXPECT_TRUE(status.ok()) << status;
    if (tokens == options_.sequences[sequence].num_tokens) return result;
    const Rows& rest = residual_rows_[2 * sequence + Index(role)];
    for (std::int32_t t = 0; t < options_.sequences[sequence].num_residual;
         ++t) {
      for (std::int32_t h = 0; h < tensor.heads; ++h) {
        for (std::int32_t i = 0; i < tensor.head_size; ++i) {
          result.push_back(static_cast<float>(rest.Get(t, h, i)));
        }
      }
    }
    return result;
  }

  /// An element before it was quantised.
  [[nodiscard]] float Source(KvRole role, std::size_t sequence,
                             std::int64_t token, std::int64_t head,
                             std::int64_t i) const {
    const std::uint64_t what = role == KvRole::kKey ? 1 : 2;
    float value = 1.0173F * Element(what, options_.sequences[sequence].id,
                                    token, head, i);
    if (role == KvRole::kKey && options_.outlier_period > 0 &&
        i % options_.outlier_period == head % options_.outlier_period) {
      value += i / options_.outlier_period % 2 == 0 ? 10.0F : -10.0F;
    }
    return value;
  }

 private:
  static std::size_t Index(KvRole role) { return role == KvRole::kKey ? 0 : 1; }
  [[nodiscard]] std::int32_t NumInBlocks(std::size_t sequence) const {
    return num_tokens_[sequence] - options_.sequences[sequence].num_residual;
  }

  // Of an element of a query (0), a key (1) or a value (2).
  [[nodiscard]] float Element(std::uint64_t what, std::uint64_t id,
                              std::int64_t token, std::int64_t head,
                              std::int64_t i) const {
    const std::int64_t place = (token * 256 + head) * 1024 + i;
    return Sample(options_.seed + what,
                  (id << 40) + static_cast<std::uint64_t>(place));
  }

  Rows MakeQuery() {
    const KvLayer& layer = options_.layer;
    const std::int32_t size =
        layer.key.head_size + (layer.latent ? layer.value.head_size : 0);
    for (const auto& sequence : options_.sequences) {
      query_begin_.push_back(query_begin_.back() + sequence.num_queries);
      num_tokens_.push_back(sequence.num_tokens);
    }
    Rows rows(query_begin_.back(), options_.num_query_heads, size,
              options_.query_dtype, options_.row_gap);
    for (std::size_t s = 0; s < options_.sequences.size(); ++s) {
      const auto& sequence = options_.sequences[s];
      for (std::int32_t q = 0; q < sequence.num_queries; ++q) {
        const std::int32_t position =
            sequence.num_tokens - sequence.num_queries + q;
        for (std::int32_t h = 0; h < options_.num_query_heads; ++h) {
          for (std::int32_t i = 0; i < size; ++i) {
            rows.Put(query_begin_[s] + q, h, i,
                     Element(0, sequence.id, position, h, i));
          }
        }
      }
    }
    return rows;
  }
  Rows MakeOutput() {
    return {query_begin_.back(), options_.num_query_heads, value_size(),
            options_.output_dtype, options_.row_gap};
  }

  // Deals blocks from 1 on to the sequences, in random order.
  void MakeTables() {
    const auto block_size = std::int32_t{options_.block_size.value()};
    std::vector<BlockId> blocks;
    for (std::size_t s = 0; s < num_tokens_.size(); ++s) {
      full_tables_.emplace_back((NumInBlocks(s) + block_size - 1) / block_size);
      for (std::size_t i = 0; i < full_tables_.back().size(); ++i) {
        blocks.emplace_back(static_cast<std::int32_t>(blocks.size()) + 1);
      }
    }
    num_blocks_ = static_cast<std::int32_t>(blocks.size()) + 2;
    std::mt19937_64 random(options_.seed);
    for (std::size_t i = blocks.size(); i > 1; --i) {
      std::swap(blocks[i - 1], blocks[random() % i]);
    }
    for (std::size_t s = 0; s < full_tables_.size(); ++s) {
      for (BlockId& block : full_tables_[s]) {
        block = blocks.back();
        blocks.pop_back();
      }
      tables_.push_back(full_tables_[s]);
      if (options_.window == 0) continue;
      // The first query's window, and sinks.
      const auto& sequence = options_.sequences[s];
      const std::int32_t begin =
          sequence.num_tokens - sequence.num_queries + 1 - options_.window;
      for (std::int32_t b = 0; (b + 1) * block_size <= begin; ++b) {
        if (b == static_cast<std::int32_t>(tables_.back().size())) break;
        if (b * block_size < options_.num_sink_tokens) continue;
        tables_.back()[static_cast<std::size_t>(b)] = kNullBlock;
      }
    }
    for (const std::vector<BlockId>& table : tables_) {
      table_pointers_.push_back(table.data());
    }
  }

  void MakeStorage() {
    const auto layout =
        KvLayout::Create({.num_blocks = BlockCount(num_blocks_),
                          .groups = {{options_.block_size, {options_.layer}}},
                          .order = options_.order,
                          .arrangement = options_.arrangement,
                          .alignment = options_.alignment});
    ASSERT_TRUE(layout.ok()) << layout.status();
    auto storage =
        HostBlockStorage::Create({.layout = layout->storage_layout()});
    ASSERT_TRUE(storage.ok()) << storage.status();
    storage_ = *std::move(storage);
    std::vector<BlockId> all;
    for (std::int32_t b = 0; b < num_blocks_; ++b) all.emplace_back(b);
    ASSERT_TRUE(storage_->FillBlocks(all, std::byte{0xff}).ok());
    const auto view = [&](KvRole role) {
      KvTensorView result = layout->View(*storage_, 0, 0, role);
      const KvFormat& format = result.tensor.format;
      if (format.scheme == ScaleScheme::kTensor && IsInteger(format.dtype)) {
        result.scale =
            4.0F / static_cast<float>(1 << (KvDtypeBits(format.dtype) - 1));
      }
      return result;
    };
    args_.key = view(KvRole::kKey);
    args_.value = view(KvRole::kValue);
  }

  void Write(std::size_t sequence) {
    const std::int64_t tokens = NumInBlocks(sequence);
    const auto block_size = std::int32_t{options_.block_size.value()};
    std::vector<std::int64_t> slots;
    for (std::int64_t t = 0; t < tokens; ++t) {
      const BlockId block =
          full_tables_[sequence][static_cast<std::size_t>(t / block_size)];
      slots.push_back(std::int64_t{block.value()} * block_size +
                      t % block_size);
    }
    for (const KvRole role : {KvRole::kKey, KvRole::kValue}) {
      const KvTensor& tensor = view(role).tensor;
      const auto rows = [&](std::int64_t first, std::int64_t count,
                            KvDtype dtype) {
        Rows result(count, tensor.heads, tensor.head_size, dtype,
                    options_.row_gap);
        for (std::int64_t t = 0; t < count; ++t) {
          for (std::int32_t h = 0; h < tensor.heads; ++h) {
            for (std::int32_t i = 0; i < tensor.head_size; ++i) {
              result.Put(t, h, i, Source(role, sequence, first + t, h, i));
            }
          }
        }
        return result;
      };
      residual_rows_.push_back(rows(tokens,
                                    options_.sequences[sequence].num_residual,
                                    options_.residual_dtype));
      if (tensor.heads == 0) continue;
      const absl::Status status = ScatterKv(
          view(role), rows(0, tokens, KvDtype::kFp32).const_view(), slots);
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  void MakeArgs() {
    args_.latent = options_.layer.latent;
    args_.batch.query_begin = query_begin_;
    args_.batch.num_tokens = num_tokens_;
    args_.batch.tables = table_pointers_;
    bool has_residuals = false;
    for (std::size_t i = 0; i < num_tokens_.size(); ++i) {
      residuals_.push_back({.key = residual_rows_[2 * i].const_view(),
                            .value = residual_rows_[2 * i + 1].const_view(),
                            .first = NumInBlocks(i)});
      has_residuals |= NumInBlocks(i) < num_tokens_[i];
    }
    if (has_residuals) args_.batch.residuals = residuals_;
    args_.query = query_.const_view();
    args_.num_query_heads = options_.num_query_heads;
    args_.output = output_.view();
    args_.softmax_scale = options_.softmax_scale;
    args_.window = options_.window;
    args_.num_sink_tokens = options_.num_sink_tokens;
    if (options_.has_sink_logits) {
      for (std::int32_t h = 0; h < options_.num_query_heads; ++h) {
        sink_logits_.push_back(SinkLogit(h));
      }
      args_.sink_logits = sink_logits_;
    }
  }

  AttentionOptions options_;
  std::vector<std::int32_t> query_begin_ = {0};
  std::vector<std::int32_t> num_tokens_;
  Rows query_;
  Rows output_;
  std::int32_t num_blocks_ = 0;
  std::vector<std::vector<BlockId>> full_tables_;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<const BlockId*> table_pointers_;
  std::unique_ptr<BlockStorage> storage_;
  std::vector<Rows> residual_rows_;  // [sequences][key, value]
  std::vector<ResidualRows> residuals_;
  std::vector<float> sink_logits_;
  PagedAttentionArgs args_;
};

/// Fails the test where the problem's output differs from the reference's by
/// more than rounding.
inline void ExpectReferenceOutput(AttentionProblem& problem) {
  const AttentionOptions& options = problem.options();
  const KvLayer& layer = options.layer;
  const std::int32_t group = options.num_query_heads / layer.key.heads;
  for (std::size_t s = 0; s < options.sequences.size(); ++s) {
    const auto& sequence = options.sequences[s];
    const auto size = [](std::int64_t x) {
      return static_cast<std::size_t>(x);
    };
    std::vector<float> keys = problem.Dequantized(KvRole::kKey, s);
    std::vector<float> values;
    if (layer.value.heads > 0) {
      values = problem.Dequantized(KvRole::kValue, s);
    }
    // Whole keys: the latent and the rotary part.
    const std::int32_t key_size =
        layer.key.head_size + (layer.latent ? layer.value.head_size : 0);
    std::vector<float> latent_keys;
    if (layer.latent) {
      for (std::int32_t t = 0; t < sequence.num_tokens; ++t) {
        const auto add = [&](const std::vector<float>& from, std::int32_t n) {
          const auto begin = from.begin() + std::ptrdiff_t{t} * n;
          latent_keys.insert(latent_keys.end(), begin, begin + n);
        };
        add(keys, layer.key.head_size);
        add(values, layer.value.head_size);
      }
      values = keys;
      keys = latent_keys;
    }
    for (std::int32_t q = 0; q < sequence.num_queries; ++q) {
      for (std::int32_t h = 0; h < options.num_query_heads; ++h) {
        const std::int32_t row = problem.first_row(s) + q;
        ReferenceQuery reference{
            .position = sequence.num_tokens - sequence.num_queries + q,
            .softmax_scale = options.softmax_scale,
            .window = options.window,
            .num_sink_tokens = options.num_sink_tokens,
            .sink_logit = problem.SinkLogit(h)};
        std::vector<float> query;
        for (std::int32_t i = 0; i < key_size; ++i) {
          query.push_back(static_cast<float>(problem.query().Get(row, h, i)));
        }
        reference.query = query;
        const auto vector = [&](const std::vector<float>& of, std::int32_t n,
                                std::int64_t t) {
          return std::span(of).subspan(
              size((t * layer.key.heads + h / group) * n), size(n));
        };
        for (std::int32_t t = 0; t < sequence.num_tokens; ++t) {
          reference.keys.push_back(vector(keys, key_size, t));
          reference.values.push_back(vector(values, problem.value_size(), t));
        }
        const ReferenceOutput expected = ReferenceAttention(reference);
        // Else the test would say little.
        ASSERT_LT(expected.relative_tolerance, 0.05);
        for (std::int32_t d = 0; d < problem.value_size(); ++d) {
          const double got = problem.output().Get(row, h, d);
          const double want = expected.output[size(d)];
          const double tolerance =
              expected.tolerance[size(d)] +
              RowRounding(options.output_dtype,
                          std::abs(want) + expected.tolerance[size(d)]);
          ASSERT_TRUE(std::abs(got - want) <= tolerance)
              << "sequence " << s << ", query " << q << ", head " << h
              << ", element " << d << ": " << got << " and not " << want
              << " within " << tolerance;
        }
      }
    }
  }
}

}  // namespace pagedkv

#endif  // TESTS_SUPPORT_ATTENTION_PROBLEM_H_
