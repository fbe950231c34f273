// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// A device without Python: streams one raw frame and prints the verdict. Where the
// connection breaks, or the server is restarted, it comes back and goes on.
//
//   spinert_device [--shared-memory] [--device NAME] ADDRESS [FILE ROWS COLUMNS [BITS_STORED]]
//
// ADDRESS is HOST:PORT, or unix:PATH for a server of this machine. FILE holds ROWS x
// COLUMNS stored values, row by row: two bytes each, little endian, or one where
// BITS_STORED (16) is at most 8; without a file, a synthetic gradient is sent. With
// --shared-memory, pixels do not pass the socket: a server of this machine reads them
// where they lie (docs/transport.md). NAME is the unit of quotas: each device has its own.
// Exit codes: 0 served, 1 refused or not answered, 2 wrong arguments. Research use only:
// not a medical device.

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "client.hpp"

namespace {

namespace v1 = spinert::v1;

constexpr const char* kUsage =
    "usage: spinert_device [--shared-memory] [--device NAME] ADDRESS"
    " [FILE ROWS COLUMNS [BITS_STORED]]\n";

class WrongArguments : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Arguments {
    bool is_help = false;
    bool in_shared_memory = false;
    std::string device = "example device";
    std::vector<std::string> positional;
};

Arguments parse(int argc, char** argv) {
    Arguments arguments;
    const std::vector<std::string> words(argv + 1, argv + argc);
    for (auto word = words.begin(); word != words.end(); ++word) {
        if (*word == "--help") {
            arguments.is_help = true;
        } else if (*word == "--shared-memory") {
            arguments.in_shared_memory = true;
        } else if (*word == "--device" && word + 1 != words.end()) {
            arguments.device = *++word;
        } else if (word->rfind("--", 0) == 0) {
            throw WrongArguments(kUsage);
        } else {
            arguments.positional.push_back(*word);
        }
    }
    const std::size_t count = arguments.positional.size();
    if (!arguments.is_help && count != 1 && count != 4 && count != 5) {
        throw WrongArguments(kUsage);
    }
    return arguments;
}

std::uint32_t number(const std::string& text, const char* name) {
    std::uint32_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stop != end) {
        throw WrongArguments(std::string(name) + " must be a whole number, not '" + text + "'\n");
    }
    return value;
}

v1::RawImage gradient(std::uint32_t rows, std::uint32_t columns) {
    constexpr std::uint32_t levels = 4096;
    v1::RawImage image;
    image.set_rows(rows);
    image.set_columns(columns);
    image.set_bits_stored(12);
    image.set_photometric_interpretation(v1::MONOCHROME2);
    std::string& pixels = *image.mutable_pixels();
    pixels.reserve(std::size_t{2} * rows * columns);
    for (std::uint32_t y = 0; y < rows; ++y) {
        for (std::uint32_t x = 0; x < columns; ++x) {
            const std::uint32_t value = (y * levels / rows + x * levels / columns) / 2;
            pixels.push_back(static_cast<char>(value & 0xFF));
            pixels.push_back(static_cast<char>(value >> 8));
        }
    }
    return image;
}

v1::RawImage read_raw(const std::vector<std::string>& words) {
    v1::RawImage image;
    image.set_rows(number(words[2], "ROWS"));
    image.set_columns(number(words[3], "COLUMNS"));
    image.set_bits_stored(words.size() > 4 ? number(words[4], "BITS_STORED") : 16);
    image.set_photometric_interpretation(v1::MONOCHROME2);
    std::ifstream file(words[1], std::ios::binary);
    if (!file) throw WrongArguments("cannot read " + words[1] + "\n");
    image.mutable_pixels()->assign(std::istreambuf_iterator<char>(file), {});
    if (image.pixels().empty()) throw WrongArguments(words[1] + " is empty\n");
    return image;
}

// Moves the pixels into shared memory, where a real device would have its detector write
// them. It may write the next frame there once this one is answered.
void place(v1::Frame& frame, SharedMemory& memory) {
    std::string& pixels = *frame.mutable_raw()->mutable_pixels();
    std::memcpy(memory.data(), pixels.data(), pixels.size());
    frame.mutable_shared()->set_region(memory.key());  // as Client names it
    frame.mutable_shared()->set_offset(0);
    frame.mutable_shared()->set_length(pixels.size());
    frame.mutable_raw()->clear_pixels();
}

int print(const v1::Result& result) {
    const v1::Verdict& verdict = result.verdict();
    std::cout << "decision " << v1::Decision_Name(verdict.decision()) << "\n"
              << "abnormal probability " << verdict.abnormal_probability() << ", threshold "
              << verdict.threshold() << "\n";
    for (const v1::Finding& finding : verdict.findings()) {
        const v1::Box& box = finding.box();
        std::cout << "finding " << finding.class_name() << " " << finding.score() << " at ["
                  << box.x_min() << ", " << box.y_min() << ", " << box.x_max() << ", "
                  << box.y_max() << "]\n";
    }
    for (const v1::Stage& stage : result.receipt().stages()) {
        std::cout << "stage " << stage.name() << " " << stage.duration_ms() << " ms\n";
    }
    std::cout << "total " << result.receipt().total_ms() << " ms\n";
    if (!result.provenance().notice().empty()) {
        std::cout << "notice " << result.provenance().notice() << "\n";
    }
    return EXIT_SUCCESS;
}

int print(const v1::FrameError& error) {
    std::cerr << "refused " << error.reason() << ": " << error.message();
    if (error.retry_after_ms() > 0) {
        std::cerr << " (try again after " << error.retry_after_ms() << " ms)";
    }
    std::cerr << "\n";
    return EXIT_FAILURE;
}

int analyze(const Arguments& arguments) {
    const std::vector<std::string>& words = arguments.positional;
    v1::Frame frame;
    frame.set_frame_id("frame-1");
    *frame.mutable_raw() = words.size() == 1 ? gradient(1024, 512) : read_raw(words);
    std::optional<SharedMemory> memory;
    if (arguments.in_shared_memory) place(frame, memory.emplace(frame.raw().pixels().size()));
    Client client(words[0], arguments.device);
    const Answer answer = client.analyze(std::move(frame), memory ? &*memory : nullptr);
    return std::visit([](const auto& each) { return print(each); }, answer);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Arguments arguments = parse(argc, argv);
        if (!arguments.is_help) return analyze(arguments);
        std::cout << kUsage;
        return EXIT_SUCCESS;
    } catch (const WrongArguments& error) {
        std::cerr << error.what();
        return 2;
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return EXIT_FAILURE;
    }
}
