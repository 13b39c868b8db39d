#!/bin/sh
# Gets llama.cpp from npm's registry: its libraries for x86-64, built for every kind of CPU, and its
# headers, out of the sources that come with node-llama-cpp. Nothing is built, and no script of a
# package runs.
set -eu
version=3.22.1 # of node-llama-cpp, with llama.cpp 0.5.0
folder=${1:-build/llama.cpp}
mkdir -p "$folder/lib"
cd "$folder"
npm pack --silent "node-llama-cpp@$version" "@node-llama-cpp/linux-x64@$version"
tar -xzf "node-llama-cpp-$version.tgz" package/llama/gitRelease.bundle
tar -xzf "node-llama-cpp-linux-x64-$version.tgz" package/bins/linux-x64
mv package/bins/linux-x64/*.so lib/
for name in llama ggml; do
    ln -sf "$(basename lib/lib$name.v*.so)" "lib/lib$name.so"
done
rm -rf sources include
git -c advice.detachedHead=false clone --quiet package/llama/gitRelease.bundle sources
mkdir include
cp sources/include/*.h sources/ggml/include/*.h include/
rm -rf package ./*.tgz
echo "llama.cpp of node-llama-cpp $version in $folder"
