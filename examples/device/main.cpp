// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// A device without Python: streams one raw 16-bit frame and prints the verdict.
//
//   spinert_device HOST:PORT [FILE ROWS COLUMNS [BITS_STORED]]
//
// FILE holds ROWS x COLUMNS stored values of two bytes, little endian, row by row.
// Without one, a synthetic gradient is sent. Exit codes: 0 answered, 1 the frame or
// the stream was refused, 2 wrong usage. Research use only: not a medical device.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "inference.grpc.pb.h"

namespace {

namespace v1 = spinert::v1;
using Stream = grpc::ClientReaderWriter<v1::StreamRequest, v1::StreamReply>;

constexpr int kMaxMessageBytes = 64 * 1024 * 1024;

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

v1::RawImage read_raw(int argc, char** argv) {
    std::ifstream file(argv[2], std::ios::binary);
    if (!file) throw std::runtime_error(std::string("cannot read ") + argv[2]);
    v1::RawImage image;
    image.set_rows(static_cast<std::uint32_t>(std::stoul(argv[3])));
    image.set_columns(static_cast<std::uint32_t>(std::stoul(argv[4])));
    image.set_bits_stored(argc > 5 ? static_cast<std::uint32_t>(std::stoul(argv[5])) : 16);
    image.set_photometric_interpretation(v1::MONOCHROME2);
    image.mutable_pixels()->assign(std::istreambuf_iterator<char>(file), {});
    return image;
}

void print(const v1::Result& result) {
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
}

// Reads replies until there is permission to send a frame; keeps the limits told.
bool wait_for_credit(Stream& stream, v1::Limits& limits) {
    v1::StreamReply reply;
    while (stream.Read(&reply)) {
        if (reply.has_opened()) limits = reply.opened().limits();
        if (reply.has_credit() && reply.credit().frames() > 0) return true;
    }
    return false;
}

// Reads until the one frame is answered; returns whether it was served.
bool read_answer(Stream& stream) {
    v1::StreamReply reply;
    while (stream.Read(&reply)) {
        if (reply.has_result()) {
            print(reply.result());
            return true;
        }
        if (reply.has_frame_error()) {
            const v1::FrameError& error = reply.frame_error();
            std::cerr << "refused " << error.reason() << ": " << error.message() << "\n";
            return false;
        }
    }
    return false;
}

bool analyze(const std::string& address, v1::RawImage image) {
    grpc::ChannelArguments options;
    options.SetMaxSendMessageSize(kMaxMessageBytes);
    options.SetMaxReceiveMessageSize(kMaxMessageBytes);
    const auto channel =
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), options);
    const auto stub = v1::SpineInference::NewStub(channel);
    grpc::ClientContext context;
    const std::unique_ptr<Stream> stream = stub->Stream(&context);

    v1::StreamRequest request;
    request.mutable_open()->set_device("example device");
    v1::Limits limits;
    bool served = false;
    if (stream->Write(request) && wait_for_credit(*stream, limits)) {
        v1::Frame& frame = *request.mutable_frame();
        frame.set_frame_id("frame-1");
        frame.set_sequence(1);
        *frame.mutable_raw() = std::move(image);
        // A larger message would end the stream, with all other frames on it.
        if (request.ByteSizeLong() > limits.max_message_bytes()) {
            std::cerr << "refused MESSAGE_TOO_LARGE: " << request.ByteSizeLong() << " bytes, "
                      << limits.max_message_bytes() << " are taken\n";
        } else {
            served = stream->Write(request) && read_answer(*stream);
        }
    }
    stream->WritesDone();
    v1::StreamReply rest;
    while (stream->Read(&rest)) {
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok()) {
        std::cerr << "stream ended with code " << status.error_code() << ": "
                  << status.error_message() << "\n";
    }
    return served && status.ok();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 && argc != 5 && argc != 6) {
        std::cerr << "usage: spinert_device HOST:PORT [FILE ROWS COLUMNS [BITS_STORED]]\n";
        return 2;
    }
    try {
        v1::RawImage image = argc == 2 ? gradient(1024, 512) : read_raw(argc, argv);
        return analyze(argv[1], std::move(image)) ? EXIT_SUCCESS : EXIT_FAILURE;
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 2;
    }
}
