// error: function with 'nonblocking' attribute must not have static local variables
#include "rtrnn/realtime.h"

struct Table {
    Table();
    float at[4];
};

float step(int i) noexcept RTRNN_NONBLOCKING {
    static const Table table;
    return table.at[i];
}
