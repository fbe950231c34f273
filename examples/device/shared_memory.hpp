// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// A POSIX shared memory object of this process: what a region of the server is made of.
// It goes with this process, unless that is killed: then a file is left in /dev/shm.

#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <random>
#include <sstream>
#include <string>
#include <system_error>

class SharedMemory {
 public:
    // Throws std::system_error where the machine has not that much shared memory.
    // The key begins as the server wants it (server.shared_memory_prefix).
    explicit SharedMemory(std::size_t size) : key_(unused_key()), size_(size) {
        // The server takes no object that anyone but its owner could write.
        const int file = shm_open(key_.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
        if (file < 0) fail(errno, "cannot make shared memory in /dev/shm");
        // Unlike ftruncate it takes the memory now: a full /dev/shm is an error here and
        // not a SIGBUS at the first pixel.
        const int error = posix_fallocate(file, 0, static_cast<off_t>(size_));
        void* const start = error ? MAP_FAILED
                                  : mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_POPULATE, file, 0);
        const int reason = error ? error : errno;
        close(file);
        if (start == MAP_FAILED) {
            shm_unlink(key_.c_str());
            fail(reason, "cannot make shared memory in /dev/shm");
        }
        data_ = static_cast<std::uint8_t*>(start);
    }

    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;

    // The server has the object open: frames that it took already are finished.
    ~SharedMemory() {
        shm_unlink(key_.c_str());
        munmap(data_, size_);
    }

    const std::string& key() const { return key_; }
    std::size_t size() const { return size_; }
    std::uint8_t* data() { return data_; }

 private:
    // Random and not the number of the process: containers give the same to many, and a
    // server may still know the region of one that was killed. It would read its pixels.
    static std::string unused_key() {
        std::random_device random;
        std::ostringstream key;
        key << "/spinert-device-" << std::hex << std::setfill('0');
        for (int word = 0; word < 4; ++word) key << std::setw(8) << random();
        return key.str();
    }

    [[noreturn]] static void fail(int error, const char* what) {
        throw std::system_error(error, std::generic_category(), what);
    }

    std::string key_;
    std::size_t size_;
    std::uint8_t* data_ = nullptr;
};
