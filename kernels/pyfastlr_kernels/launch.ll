; linux x86_64 cpython 16 d9ee8ebe43d9f42fcb72f99520a1fca32a9b0deb7c84498d237c105a4d905a06
target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
target triple = "x86_64-unknown-linux-gnu"

define internal fastcc void @_ZN16pyfastlr_kernels6launch11make_launch12_3clocals_3e6launchB2v1B56c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAg6cJqBrMeIZJFEGM0QQAExxx(ptr noalias nonnull writeonly captures(none) %retptr, i64 %arg.self, i64 %arg.arguments, i64 %arg.count) unnamed_addr {
B0:
  %.163.i = alloca i64, align 8
  %.242.i = alloca i64, align 8
  %.415.i = alloca ptr, align 8
  %.445.i = alloca ptr, align 8
  %.14 = icmp slt i64 %arg.count, 0
  br i1 %.14, label %B16, label %B50

B16:                                              ; preds = %B0
  %.73.i = add nsw i64 %arg.self, 512
  %.87.i = add nsw i64 %arg.self, 576
  %sunkaddr2.i = inttoptr i64 %arg.self to ptr
  %sunkaddr3.i = getelementptr i8, ptr %sunkaddr2.i, i64 64
  %sunkaddr10.i = getelementptr i8, ptr %sunkaddr2.i, i64 320
  %sunkaddr24.i = getelementptr i8, ptr %sunkaddr2.i, i64 384
  %sunkaddr26.i = getelementptr i8, ptr %sunkaddr2.i, i64 256
  %sunkaddr28.i = getelementptr i8, ptr %sunkaddr2.i, i64 192
  %sunkaddr30.i = getelementptr i8, ptr %sunkaddr2.i, i64 128
  br label %B10.i

B10.i:                                            ; preds = %B950.i, %B16
  %seen.2.0.i = phi i64 [ 0, %B16 ], [ %.113.i, %B950.i ]
  %.17.i = load atomic i64, ptr %sunkaddr3.i seq_cst, align 8, !noalias !0
  %.19.i = icmp eq i64 %.17.i, %seen.2.0.i
  br i1 %.19.i, label %B90.i, label %B204.i

B90.i:                                            ; preds = %B10.i, %B90.i
  %spins.2.2.i = phi i64 [ %.33.i, %B90.i ], [ 0, %B10.i ]
  tail call void @llvm.x86.sse2.pause(), !noalias !0
  %.33.i = add nuw nsw i64 %spins.2.2.i, 1
  %.42.i = load atomic i64, ptr %sunkaddr3.i seq_cst, align 8, !noalias !0
  %.44.i = icmp eq i64 %.42.i, %seen.2.0.i
  %.50.i = icmp samesign ult i64 %spins.2.2.i, 1999
  %or.cond.i = select i1 %.44.i, i1 %.50.i, i1 false
  br i1 %or.cond.i, label %B90.i, label %B204.i

B204.i:                                           ; preds = %B90.i, %B10.i
  %.68.i = load atomic i64, ptr %sunkaddr3.i seq_cst, align 8, !noalias !0
  %.70.i = icmp eq i64 %.68.i, %seen.2.0.i
  br i1 %.70.i, label %B258.i, label %B618.i

B258.i:                                           ; preds = %B204.i
  %.74.i = tail call i32 @pthread_mutex_lock(i64 %.73.i), !noalias !0
  %.78.i = atomicrmw add ptr %sunkaddr10.i, i64 1 seq_cst, align 8, !noalias !0
  %.82.i = load atomic i64, ptr %sunkaddr3.i seq_cst, align 8, !noalias !0
  %.84.i = icmp eq i64 %.82.i, %seen.2.0.i
  br i1 %.84.i, label %B406.i, label %B524.i

B406.i:                                           ; preds = %B258.i, %B406.i
  %.90.i = tail call i32 @pthread_cond_wait(i64 %.87.i, i64 %.73.i), !noalias !0
  %.94.i = load atomic i64, ptr %sunkaddr3.i seq_cst, align 8, !noalias !0
  %.96.i = icmp eq i64 %.94.i, %seen.2.0.i
  br i1 %.96.i, label %B406.i, label %B524.i

B524.i:                                           ; preds = %B406.i, %B258.i
  %.103.i = atomicrmw add ptr %sunkaddr10.i, i64 -1 seq_cst, align 8, !noalias !0
  %.106.i = tail call i32 @pthread_mutex_unlock(i64 %.73.i), !noalias !0
  br label %B618.i

B618.i:                                           ; preds = %B524.i, %B204.i
  %.113.i = load atomic i64, ptr %sunkaddr3.i seq_cst, align 8, !noalias !0
  %.120.i = load atomic i64, ptr %sunkaddr24.i seq_cst, align 8, !noalias !0
  %.121.not.i = icmp eq i64 %.120.i, 0
  br i1 %.121.not.i, label %B722.i, label %common.ret

B722.i:                                           ; preds = %B618.i
  %.132.i = atomicrmw add ptr %sunkaddr26.i, i64 1 seq_cst, align 8, !noalias !0
  %.136.i = atomicrmw add ptr %sunkaddr28.i, i64 -1 seq_cst, align 8, !noalias !0
  %.141.i = icmp sgt i64 %.136.i, 0
  br i1 %.141.i, label %B830.i, label %B950.i

B830.i:                                           ; preds = %B722.i
  %.146.i = load atomic i64, ptr %sunkaddr30.i seq_cst, align 8, !noalias !0
  %.150.i = inttoptr i64 %.146.i to ptr
  %.14.i.i = getelementptr inbounds nuw i8, ptr %.150.i, i64 200
  %.16.i.i = load i64, ptr %.14.i.i, align 1, !noalias !3
  %.9861.not.i.i = icmp slt i64 %.16.i.i, 1
  br i1 %.9861.not.i.i, label %B950.i, label %B46.preheader.i.i

B46.preheader.i.i:                                ; preds = %B830.i
  %sunkaddr5.i.i = getelementptr inbounds nuw i8, ptr %.150.i, i64 88
  %sunkaddr4.i.i = getelementptr inbounds nuw i8, ptr %.150.i, i64 64
  %sunkaddr1.i.i = getelementptr inbounds nuw i8, ptr %.150.i, i64 32
  %sunkaddr2.i.i = getelementptr inbounds nuw i8, ptr %.150.i, i64 56
  br label %B46.i.i

B46thread-pre-split.i.i:                          ; preds = %B456.i.i
  %.141.pr.i.i = load i64, ptr %.14.i.i, align 1, !noalias !3
  br label %B46.i.i

B46.i.i:                                          ; preds = %B46thread-pre-split.i.i, %B46.preheader.i.i
  %.141.i.i = phi i64 [ %.141.pr.i.i, %B46thread-pre-split.i.i ], [ %.16.i.i, %B46.preheader.i.i ]
  %.40.0.i.i = phi i64 [ %.111.i.i, %B46thread-pre-split.i.i ], [ 0, %B46.preheader.i.i ]
  %.111.i.i = add nuw nsw i64 %.40.0.i.i, 1
  %.137.i.i = add nuw nsw i64 %.40.0.i.i, %.136.i
  %.144.i.i = icmp eq i64 %.141.i.i, 0
  br i1 %.144.i.i, label %B46.endif.endif.i.i, label %B46.else.i.i, !prof !6

B192.i.i:                                         ; preds = %B46.endif.endif.i.i, %B380.i.i
  %index.2.1.i.i = phi i64 [ %.299.i.i, %B380.i.i ], [ %.247.i.i, %B46.endif.endif.i.i ]
  %.260.i.i = load i64, ptr %sunkaddr1.i.i, align 1, !noalias !3
  %.264.i.i = load i64, ptr %sunkaddr2.i.i, align 1, !noalias !3
  %.266.i.i = mul i64 %index.2.1.i.i, 24
  %.267.i.i = add i64 %.264.i.i, %.266.i.i
  %.268.i.i = inttoptr i64 %.267.i.i to ptr
  %.271.i.i = load i64, ptr %.268.i.i, align 1, !noalias !3
  %.272.i.i = mul i64 %.271.i.i, 96
  %.273.i.i = add i64 %.272.i.i, %.260.i.i
  %.274.i.i = inttoptr i64 %.273.i.i to ptr
  %.275.i.i = getelementptr inbounds nuw i8, ptr %.274.i.i, i64 32
  %.277.i.i = load i64, ptr %.275.i.i, align 1, !noalias !3
  %.278.i.i = icmp sgt i64 %.277.i.i, -1
  br i1 %.278.i.i, label %B324.i.i, label %B380.i.i

B324.i.i:                                         ; preds = %B192.i.i
  %.283.i.i = load i64, ptr %.150.i, align 1, !noalias !3
  %.286.i.i = inttoptr i64 %.283.i.i to ptr
  tail call void %.286.i.i(i64 %.146.i, i64 1, i64 %index.2.1.i.i), !noalias !3
  br label %B380.i.i

B380.i.i:                                         ; preds = %B324.i.i, %B192.i.i
  %.294.i.i = load i64, ptr %sunkaddr5.i.i, align 1, !noalias !3
  %.297.i.i = add nsw i64 %.294.i.i, %.244.i.i
  %.298.i.i = inttoptr i64 %.297.i.i to ptr
  %.299.i.i = atomicrmw add ptr %.298.i.i, i64 1 seq_cst, align 8, !noalias !3
  %.303.i.i = icmp slt i64 %.299.i.i, %quot.1.0.i.i
  br i1 %.303.i.i, label %B192.i.i, label %B456.i.i

B456.i.i:                                         ; preds = %B380.i.i, %B46.endif.endif.i.i
  %exitcond.not.i.i = icmp eq i64 %.111.i.i, %.16.i.i
  br i1 %exitcond.not.i.i, label %B950.i, label %B46thread-pre-split.i.i

B46.else.i.i:                                     ; preds = %B46.i.i
  %.156.i.i = icmp ne i64 %.141.i.i, -1
  %0 = or i64 %.137.i.i, %.141.i.i
  %1 = icmp ult i64 %0, 4294967296
  br i1 %1, label %2, label %7

2:                                                ; preds = %B46.else.i.i
  %3 = trunc nuw i64 %.141.i.i to i32
  %4 = trunc nuw i64 %.137.i.i to i32
  %5 = urem i32 %4, %3
  %6 = zext i32 %5 to i64
  br label %B46.endif.else.i.i

7:                                                ; preds = %B46.else.i.i
  %8 = srem i64 %.137.i.i, %.141.i.i
  br label %B46.endif.else.i.i

B46.endif.else.i.i:                               ; preds = %7, %2
  %9 = phi i64 [ %6, %2 ], [ %8, %7 ]
  %.162.i.i = xor i64 %9, %.141.i.i
  %.163.i.i = icmp slt i64 %.162.i.i, 0
  %.164.i.i = icmp ne i64 %9, 0
  %.165.i.i = and i1 %.164.i.i, %.163.i.i
  %.172.i.i = select i1 %.165.i.i, i64 %.141.i.i, i64 0
  %spec.select.i.i = add i64 %.172.i.i, %9
  %.186.i.i = add nsw i64 %spec.select.i.i, 1
  %.190.i.i = load i64, ptr %sunkaddr4.i.i, align 1, !noalias !3
  %.191.i.i = mul nsw i64 %.186.i.i, %.190.i.i
  %.209.i.i = icmp ne i64 %.191.i.i, -9223372036854775808
  %.211.not.i.i = or i1 %.156.i.i, %.209.i.i
  br i1 %.211.not.i.i, label %B46.endif.else.if.i.i, label %B46.endif.endif.i.i, !prof !7

B46.endif.endif.i.i:                              ; preds = %22, %B46.endif.else.i.i, %B46.i.i
  %rem.057.i.i = phi i64 [ 0, %B46.i.i ], [ %spec.select.i.i, %B46.endif.else.i.i ], [ %spec.select.i.i, %22 ]
  %quot.1.0.i.i = phi i64 [ 0, %B46.i.i ], [ 0, %B46.endif.else.i.i ], [ %spec.select59.i.i, %22 ]
  %.242.i.i = load i64, ptr %sunkaddr5.i.i, align 1, !noalias !3
  %.244.i.i = shl nsw i64 %rem.057.i.i, 6
  %.245.i.i = add nsw i64 %.242.i.i, %.244.i.i
  %.246.i.i = inttoptr i64 %.245.i.i to ptr
  %.247.i.i = atomicrmw add ptr %.246.i.i, i64 1 seq_cst, align 8, !noalias !3
  %.252.i.i = icmp slt i64 %.247.i.i, %quot.1.0.i.i
  br i1 %.252.i.i, label %B192.i.i, label %B456.i.i

B46.endif.else.if.i.i:                            ; preds = %B46.endif.else.i.i
  %10 = or i64 %.191.i.i, %.141.i.i
  %11 = icmp ult i64 %10, 4294967296
  br i1 %11, label %12, label %19

12:                                               ; preds = %B46.endif.else.if.i.i
  %13 = trunc nuw i64 %.141.i.i to i32
  %14 = trunc nuw i64 %.191.i.i to i32
  %15 = udiv i32 %14, %13
  %16 = urem i32 %14, %13
  %17 = zext i32 %15 to i64
  %18 = zext i32 %16 to i64
  br label %22

19:                                               ; preds = %B46.endif.else.if.i.i
  %20 = sdiv i64 %.191.i.i, %.141.i.i
  %21 = srem i64 %.191.i.i, %.141.i.i
  br label %22

22:                                               ; preds = %19, %12
  %23 = phi i64 [ %17, %12 ], [ %20, %19 ]
  %24 = phi i64 [ %18, %12 ], [ %21, %19 ]
  %.216.i.i = xor i64 %24, %.141.i.i
  %.217.i.i = icmp slt i64 %.216.i.i, 0
  %.218.i.i = icmp ne i64 %24, 0
  %.219.i.i = and i1 %.218.i.i, %.217.i.i
  %.224.i.i = sext i1 %.219.i.i to i64
  %spec.select59.i.i = add i64 %23, %.224.i.i
  br label %B46.endif.endif.i.i

B950.i:                                           ; preds = %B456.i.i, %B830.i, %B722.i
  %.191.i = atomicrmw add ptr %sunkaddr26.i, i64 -1 seq_cst, align 8, !noalias !0
  br label %B10.i

B50:                                              ; preds = %B0
  %.53 = tail call i64 @PyLong_AsLongLong(i64 %arg.self)
  %.62 = inttoptr i64 %.53 to ptr
  %.67 = getelementptr inbounds nuw i8, ptr %.62, i64 184
  %.69 = load i64, ptr %.67, align 1
  %.70.not = icmp eq i64 %.69, 0
  br i1 %.70.not, label %B186, label %B146

common.ret:                                       ; preds = %B618.i, %B440, %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit, %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread4, %B236, %B146
  %.sink = phi i64 [ 0, %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread4 ], [ %.80, %B146 ], [ %.99, %B236 ], [ %.226, %B440 ], [ 0, %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit ], [ 0, %B618.i ]
  store i64 %.sink, ptr %retptr, align 8
  ret void

B146:                                             ; preds = %B50
  %.80 = tail call i64 @PyLong_FromLongLong(i64 -1)
  br label %common.ret

B186:                                             ; preds = %B50
  %.83 = tail call i64 @PyThread_get_thread_ident()
  store i64 %.83, ptr %.67, align 1
  %.89 = icmp eq i64 %arg.count, 0
  br i1 %.89, label %B236, label %B276.endif.endif.endif

B236:                                             ; preds = %B186
  %.99 = tail call i64 @PyLong_FromLongLong(i64 0)
  br label %common.ret

B440:                                             ; preds = %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread, %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit
  %.sink.i3 = phi i64 [ %.sink.i.ph, %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread ], [ %.sink.i, %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit ]
  %.226 = tail call i64 @PyLong_FromLongLong(i64 %.sink.i3)
  br label %common.ret

B276.endif.endif.endif:                           ; preds = %B186
  %.5.i = inttoptr i64 %arg.arguments to ptr
  %.7.i = load i64, ptr %.5.i, align 8, !noalias !8
  %.131 = add nsw i64 %arg.arguments, 8
  %.5.i1 = inttoptr i64 %.131 to ptr
  %.7.i2 = load i64, ptr %.5.i1, align 8, !noalias !11
  %.158 = add nsw i64 %arg.arguments, 16
  %.5.i3 = inttoptr i64 %.158 to ptr
  %.7.i4 = load i64, ptr %.5.i3, align 8, !noalias !14
  call void @llvm.lifetime.start.p0(ptr nonnull %.163.i)
  call void @llvm.lifetime.start.p0(ptr nonnull %.242.i)
  call void @llvm.lifetime.start.p0(ptr nonnull %.415.i)
  call void @llvm.lifetime.start.p0(ptr nonnull %.445.i)
  store i64 0, ptr %.163.i, align 8, !noalias !17
  store i64 0, ptr %.242.i, align 8, !noalias !17
  store ptr null, ptr %.415.i, align 8, !noalias !17
  store ptr null, ptr %.445.i, align 8, !noalias !17
  %.21.i = add nsw i64 %.7.i2, 8
  %.5.i.i = inttoptr i64 %.21.i to ptr
  %.7.i.i = load i64, ptr %.5.i.i, align 8, !noalias !20
  %.49.i = getelementptr inbounds nuw i8, ptr %.62, i64 144
  %.51.i = load i64, ptr %.49.i, align 1, !noalias !17
  %.52.not.i = icmp eq i64 %.7.i.i, %.51.i
  br i1 %.52.not.i, label %B68.endif.i, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread

B164.i:                                           ; preds = %B68.endif.i
  %.128.i = getelementptr inbounds nuw i8, ptr %.62, i64 200
  %.130.i = load i64, ptr %.128.i, align 1, !noalias !17
  %.131.i = icmp sgt i64 %.130.i, 1
  br i1 %.131.i, label %B186.i, label %B280.i

B186.i:                                           ; preds = %B164.i
  %.134.i = getelementptr inbounds nuw i8, ptr %.62, i64 208
  %.136.i24 = load i64, ptr %.134.i, align 1, !noalias !17
  %.137.i = add nsw i64 %.136.i24, 448
  %.138.i = inttoptr i64 %.137.i to ptr
  %.139.i = load atomic i64, ptr %.138.i seq_cst, align 8, !noalias !17
  %.143.i = load i64, ptr %.128.i, align 1, !noalias !17
  %.144.i = add nsw i64 %.143.i, -1
  %.145.i = icmp slt i64 %.139.i, %.144.i
  br i1 %.145.i, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread, label %B280.i

B280.i:                                           ; preds = %B186.i, %B164.i
  store i64 0, ptr %.163.i, align 8, !noalias !17
  call fastcc void @_ZN16pyfastlr_kernels6launch4bindB2v7B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx(ptr nonnull %.163.i, ptr nonnull %.62, i64 %.7.i, i64 %.7.i4)
  %.177.i = load i64, ptr %.163.i, align 8, !noalias !17
  %.195.i = icmp eq i64 %.177.i, 0
  br i1 %.195.i, label %B336.i, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit

B336.i:                                           ; preds = %B280.i
  %.203.i = getelementptr inbounds nuw i8, ptr %.62, i64 168
  %.205.i = load i64, ptr %.203.i, align 1, !noalias !17
  %.206.i = icmp sgt i64 %.205.i, 0
  br i1 %.206.i, label %B358.i, label %B470.endif.i

B358.i:                                           ; preds = %B336.i
  %.8.i.i = getelementptr inbounds nuw i8, ptr %.62, i64 192
  %.10.i1.i = load i64, ptr %.8.i.i, align 1, !noalias !23
  %.11.i.i = tail call i64 @PyLong_FromLongLong(i64 %.10.i1.i), !noalias !23
  %.18.i.i = load i64, ptr %.203.i, align 1, !noalias !23
  %.100167.not.i.i = icmp slt i64 %.18.i.i, 1
  br i1 %.100167.not.i.i, label %B576.endif.i.i, label %B86.preheader.i.i

B86.preheader.i.i:                                ; preds = %B358.i
  %sunkaddr.i.i = getelementptr inbounds nuw i8, ptr %.62, i64 160
  br label %B86.i.i

B86.i.i:                                          ; preds = %B488.endif.i.i, %B86.preheader.i.i
  %lsr.iv14.i.i = phi i64 [ %lsr.iv.next15.i.i, %B488.endif.i.i ], [ %.18.i.i, %B86.preheader.i.i ]
  %lsr.iv.i2.i = phi i64 [ %lsr.iv.next.i9.i, %B488.endif.i.i ], [ 0, %B86.preheader.i.i ]
  %.141.i3.i = load i64, ptr %sunkaddr.i.i, align 1, !noalias !23
  %25 = add i64 %.141.i3.i, %lsr.iv.i2.i
  %.144.i.i21 = inttoptr i64 %25 to ptr
  %.151.i.i = load i64, ptr %.144.i.i21, align 1, !noalias !23
  %.153.i4.i = tail call i64 @PyObject_CallOneArg(i64 %.151.i.i, i64 %.11.i.i), !noalias !23
  %.162.not.i.i = icmp eq i64 %.153.i4.i, 0
  br i1 %.162.not.i.i, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread4, label %B196.endif.i.i

B328.i.i:                                         ; preds = %B260.endif.i.i
  %sunkaddr6.i.i = getelementptr i8, ptr %sunkaddr32.i.i, i64 24
  %.241.i.i = load double, ptr %sunkaddr6.i.i, align 1, !noalias !23
  %.243.i13.i = fcmp ugt double %.7.i7.i.i, %.241.i.i
  br i1 %.243.i13.i, label %B428.i.i, label %B488.endif.i.i

B428.i.i:                                         ; preds = %B260.endif.i.i, %B196.endif.i.i, %B328.i.i
  %sunkaddr10.i.i = getelementptr i8, ptr %27, i64 %.141.i3.i
  %sunkaddr12.i8.i = getelementptr i8, ptr %sunkaddr10.i.i, i64 8
  %.259.i.i = load i64, ptr %sunkaddr12.i8.i, align 1, !noalias !23
  %.260.i.i22 = tail call i64 @PyObject_CallOneArg(i64 %.259.i.i, i64 %.153.i4.i), !noalias !23
  %.263.i.i = tail call ptr @Py_DecRef(i64 %.153.i4.i), !noalias !23
  %.268.i.i23 = icmp eq i64 %.260.i.i22, 0
  br i1 %.268.i.i23, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread4, label %B428.B488_crit_edge.i.i

B428.B488_crit_edge.i.i:                          ; preds = %B428.i.i
  %.pre.i.i = add nsw i64 %.260.i.i22, 16
  %.5.i8.phi.trans.insert.i.i = inttoptr i64 %.pre.i.i to ptr
  %.7.i9.pre.i.i = load double, ptr %.5.i8.phi.trans.insert.i.i, align 8, !noalias !26
  br label %B488.endif.i.i

B646.loopexit.loopexit.unr-lcssa.i.i:             ; preds = %B746.endif.i.i
  %26 = and i64 %.464.i.i, 1
  %lcmp.mod.not.i.i = icmp eq i64 %26, 0
  br i1 %lcmp.mod.not.i.i, label %B646.loopexit.i.i, label %B746.endif.epil.preheader.i.i

B746.endif.epil.preheader.i.i:                    ; preds = %B746.lr.ph.B746.endif.epil.preheader_crit_edge.i.i, %B646.loopexit.loopexit.unr-lcssa.i.i
  %sunkaddr22.pre-phi.pre-phi.i.i = phi ptr [ %.pre1.i.i, %B746.lr.ph.B746.endif.epil.preheader_crit_edge.i.i ], [ %sunkaddr27.i.i, %B646.loopexit.loopexit.unr-lcssa.i.i ]
  %.550172174.epil.init.i.i = phi i64 [ 0, %B746.lr.ph.B746.endif.epil.preheader_crit_edge.i.i ], [ %unroll_iter.i.i, %B646.loopexit.loopexit.unr-lcssa.i.i ]
  %sunkaddr23.i.i = getelementptr i8, ptr %sunkaddr22.pre-phi.pre-phi.i.i, i64 %.455.i.i
  %sunkaddr24.i.i = getelementptr i8, ptr %sunkaddr23.i.i, i64 32
  %.585.epil.i.i = load double, ptr %sunkaddr24.i.i, align 1, !noalias !23
  %.589.epil.i.i = load i64, ptr %sunkaddr31.i.i, align 1, !noalias !23
  %.594.epil.i.i = load i64, ptr %sunkaddr34.i.i, align 1, !noalias !23
  %sunkaddr29.i.i = getelementptr i8, ptr %sunkaddr23.i.i, i64 40
  %.598.epil.i.i = load i64, ptr %sunkaddr29.i.i, align 1, !noalias !23
  %.599.epil.i.i = add nsw i64 %.598.epil.i.i, %.550172174.epil.init.i.i
  %.600.epil.i.i = shl nsw i64 %.599.epil.i.i, 3
  %.601.epil.i.i = add nsw i64 %.600.epil.i.i, %.594.epil.i.i
  %.5.i10.epil.i.i = inttoptr i64 %.601.epil.i.i to ptr
  %.7.i11.epil.i.i = load i64, ptr %.5.i10.epil.i.i, align 8, !noalias !29
  %.626.epil.i.i = shl nsw i64 %.7.i11.epil.i.i, 3
  %.627.epil.i.i = add nsw i64 %.626.epil.i.i, %.589.epil.i.i
  %.628.epil.i.i = inttoptr i64 %.627.epil.i.i to ptr
  store double %.585.epil.i.i, ptr %.628.epil.i.i, align 8, !noalias !23
  br label %B646.loopexit.i.i

B646.loopexit.i.i:                                ; preds = %B648.endif.i.i, %B746.endif.epil.preheader.i.i, %B646.loopexit.loopexit.unr-lcssa.i.i
  %exitcond199.not.i.i = icmp eq i64 %.426.i.i, %.333.i.i
  br i1 %exitcond199.not.i.i, label %B410.i, label %B648.endif.i.i

B196.endif.i.i:                                   ; preds = %B86.i.i
  %.168.i5.i = add nsw i64 %.153.i4.i, 8
  %.5.i.i6.i = inttoptr i64 %.168.i5.i to ptr
  %.7.i.i7.i = load i64, ptr %.5.i.i6.i, align 8, !noalias !32
  %.196.i.i = load i64, ptr %.49.i, align 1, !noalias !23
  %.197.i.i = icmp eq i64 %.7.i.i7.i, %.196.i.i
  %27 = inttoptr i64 %lsr.iv.i2.i to ptr
  br i1 %.197.i.i, label %B260.endif.i.i, label %B428.i.i

B260.endif.i.i:                                   ; preds = %B196.endif.i.i
  %sunkaddr32.i.i = getelementptr i8, ptr %27, i64 %.141.i3.i
  %sunkaddr33.i.i = getelementptr i8, ptr %sunkaddr32.i.i, i64 16
  %.202.i.i = load double, ptr %sunkaddr33.i.i, align 1, !noalias !23
  %.205.i.i = add nsw i64 %.153.i4.i, 16
  %.5.i6.i.i = inttoptr i64 %.205.i.i to ptr
  %.7.i7.i.i = load double, ptr %.5.i6.i.i, align 8, !noalias !35
  %.230.i.i = fcmp ugt double %.202.i.i, %.7.i7.i.i
  br i1 %.230.i.i, label %B428.i.i, label %B328.i.i

B488.endif.i.i:                                   ; preds = %B428.B488_crit_edge.i.i, %B328.i.i
  %.7.i9.i.i = phi double [ %.7.i9.pre.i.i, %B428.B488_crit_edge.i.i ], [ %.7.i7.i.i, %B328.i.i ]
  %value.2.1141.i.i = phi i64 [ %.260.i.i22, %B428.B488_crit_edge.i.i ], [ %.153.i4.i, %B328.i.i ]
  %sunkaddr35.i.i = getelementptr i8, ptr %27, i64 %.141.i3.i
  %sunkaddr36.i.i = getelementptr i8, ptr %sunkaddr35.i.i, i64 32
  store double %.7.i9.i.i, ptr %sunkaddr36.i.i, align 1, !noalias !23
  %.318.i.i = tail call ptr @Py_DecRef(i64 %value.2.1141.i.i), !noalias !23
  %lsr.iv.next.i9.i = add i64 %lsr.iv.i2.i, 56
  %lsr.iv.next15.i.i = add nsw i64 %lsr.iv14.i.i, -1
  %exitcond.not.i10.i = icmp eq i64 %lsr.iv.next15.i.i, 0
  br i1 %exitcond.not.i10.i, label %B576.endif.i.i, label %B86.i.i

B576.endif.i.i:                                   ; preds = %B488.endif.i.i, %B358.i
  %.327.i.i = tail call ptr @Py_DecRef(i64 %.11.i.i), !noalias !23
  %.333.i.i = load i64, ptr %.203.i, align 1, !noalias !23
  %.413184.not.i.i = icmp slt i64 %.333.i.i, 1
  br i1 %.413184.not.i.i, label %B410.i, label %B648.endif.preheader.i.i

B648.endif.preheader.i.i:                         ; preds = %B576.endif.i.i
  %sunkaddr26.i.i = getelementptr inbounds nuw i8, ptr %.62, i64 160
  %sunkaddr31.i.i = getelementptr inbounds nuw i8, ptr %.62, i64 72
  %sunkaddr34.i.i = getelementptr inbounds nuw i8, ptr %.62, i64 176
  br label %B648.endif.i.i

B648.endif.i.i:                                   ; preds = %B648.endif.preheader.i.i, %B646.loopexit.i.i
  %.419179185.i.i = phi i64 [ %.426.i.i, %B646.loopexit.i.i ], [ 0, %B648.endif.preheader.i.i ]
  %.426.i.i = add nuw nsw i64 %.419179185.i.i, 1
  %.454.i.i = load i64, ptr %sunkaddr26.i.i, align 1, !noalias !23
  %.455.i.i = mul i64 %.419179185.i.i, 56
  %.456.i.i = add i64 %.454.i.i, %.455.i.i
  %.457.i.i = inttoptr i64 %.456.i.i to ptr
  %.462.i.i = getelementptr inbounds nuw i8, ptr %.457.i.i, i64 48
  %.464.i.i = load i64, ptr %.462.i.i, align 1, !noalias !23
  %.544173.not.i.i = icmp slt i64 %.464.i.i, 1
  br i1 %.544173.not.i.i, label %B646.loopexit.i.i, label %B746.lr.ph.i.i

B746.lr.ph.i.i:                                   ; preds = %B648.endif.i.i
  %28 = icmp eq i64 %.464.i.i, 1
  br i1 %28, label %B746.lr.ph.B746.endif.epil.preheader_crit_edge.i.i, label %B746.lr.ph.new.i.i

B746.lr.ph.B746.endif.epil.preheader_crit_edge.i.i: ; preds = %B746.lr.ph.i.i
  %.pre1.i.i = inttoptr i64 %.454.i.i to ptr
  br label %B746.endif.epil.preheader.i.i

B746.lr.ph.new.i.i:                               ; preds = %B746.lr.ph.i.i
  %unroll_iter.i.i = and i64 %.464.i.i, 9223372036854775806
  %sunkaddr27.i.i = inttoptr i64 %.454.i.i to ptr
  %sunkaddr28.i.i = getelementptr i8, ptr %sunkaddr27.i.i, i64 %.455.i.i
  %sunkaddr30.i.i = getelementptr i8, ptr %sunkaddr28.i.i, i64 32
  %sunkaddr39.i.i = getelementptr i8, ptr %sunkaddr28.i.i, i64 40
  br label %B746.endif.i.i

B746.endif.i.i:                                   ; preds = %B746.endif.i.i, %B746.lr.ph.new.i.i
  %.550172174.i.i = phi i64 [ 0, %B746.lr.ph.new.i.i ], [ %.557.1.i.i, %B746.endif.i.i ]
  %.585.i.i = load double, ptr %sunkaddr30.i.i, align 1, !noalias !23
  %.589.i.i = load i64, ptr %sunkaddr31.i.i, align 1, !noalias !23
  %.594.i.i = load i64, ptr %sunkaddr34.i.i, align 1, !noalias !23
  %.598.i.i = load i64, ptr %sunkaddr39.i.i, align 1, !noalias !23
  %29 = add i64 %.598.i.i, %.550172174.i.i
  %.600.i.i = shl nsw i64 %29, 3
  %.601.i.i = add nsw i64 %.600.i.i, %.594.i.i
  %.5.i10.i.i = inttoptr i64 %.601.i.i to ptr
  %.7.i11.i.i = load i64, ptr %.5.i10.i.i, align 8, !noalias !29
  %.626.i.i = shl nsw i64 %.7.i11.i.i, 3
  %.627.i.i = add nsw i64 %.626.i.i, %.589.i.i
  %.628.i.i = inttoptr i64 %.627.i.i to ptr
  store double %.585.i.i, ptr %.628.i.i, align 8, !noalias !23
  %.585.1.i.i = load double, ptr %sunkaddr30.i.i, align 1, !noalias !23
  %.589.1.i.i = load i64, ptr %sunkaddr31.i.i, align 1, !noalias !23
  %.594.1.i.i = load i64, ptr %sunkaddr34.i.i, align 1, !noalias !23
  %.598.1.i.i = load i64, ptr %sunkaddr39.i.i, align 1, !noalias !23
  %30 = add i64 %.598.1.i.i, %.550172174.i.i
  %31 = shl i64 %30, 3
  %.600.1.i.i = add i64 %.594.1.i.i, 8
  %.601.1.i.i = add i64 %.600.1.i.i, %31
  %.5.i10.1.i.i = inttoptr i64 %.601.1.i.i to ptr
  %.7.i11.1.i.i = load i64, ptr %.5.i10.1.i.i, align 8, !noalias !29
  %.557.1.i.i = add nuw i64 %.550172174.i.i, 2
  %.626.1.i.i = shl nsw i64 %.7.i11.1.i.i, 3
  %.627.1.i.i = add nsw i64 %.626.1.i.i, %.589.1.i.i
  %.628.1.i.i = inttoptr i64 %.627.1.i.i to ptr
  store double %.585.1.i.i, ptr %.628.1.i.i, align 8, !noalias !23
  %niter.ncmp.1.i.i = icmp eq i64 %unroll_iter.i.i, %.557.1.i.i
  br i1 %niter.ncmp.1.i.i, label %B646.loopexit.loopexit.unr-lcssa.i.i, label %B746.endif.i.i

_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread4: ; preds = %B86.i.i, %B428.i.i
  %.279.i12.i = tail call ptr @Py_DecRef(i64 %.11.i.i), !noalias !23
  call void @llvm.lifetime.end.p0(ptr nonnull %.163.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.242.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.415.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.445.i)
  store i64 0, ptr %.67, align 1
  br label %common.ret

B410.i:                                           ; preds = %B646.loopexit.i.i, %B576.endif.i.i
  store i64 0, ptr %.242.i, align 8, !noalias !17
  call fastcc void @_ZN16pyfastlr_kernels6launch4bindB2v7B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx(ptr nonnull %.242.i, ptr nonnull %.62, i64 %.7.i, i64 %.7.i4)
  %.256.i = load i64, ptr %.242.i, align 8, !noalias !17
  %.280.not.i = icmp eq i64 %.256.i, 0
  br i1 %.280.not.i, label %B470.endif.i, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit

B636.i:                                           ; preds = %B470.endif.endif.endif.i
  %.392.i = tail call i64 @PyEval_SaveThread(), !noalias !17
  br label %B666.i

B666.i:                                           ; preds = %B470.endif.endif.endif.i, %B636.i
  %"$phi666.0.2.0.i" = phi i64 [ %.392.i, %B636.i ], [ 0, %B470.endif.endif.endif.i ]
  %.409.i = load i64, ptr %.128.i, align 1, !noalias !17
  %.410.i = icmp sgt i64 %.409.i, 1
  br i1 %.410.i, label %B690.i, label %B724.i

B690.i:                                           ; preds = %B666.i
  call fastcc void @_ZN16pyfastlr_kernels6launch11walk_sharedB3v15B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE(ptr nonnull %.415.i, i64 %.53, ptr nonnull %.62)
  br label %B758.i

B724.i:                                           ; preds = %B666.i
  call fastcc void @_ZN16pyfastlr_kernels6launch4walkB3v16B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE23Literal_5bint_5d_280_29(ptr nonnull %.445.i, i64 %.53, ptr nonnull %.62)
  br label %B758.i

B758.i:                                           ; preds = %B724.i, %B690.i
  %.10.i.i = load i64, ptr %.35.i.i, align 1, !noalias !38
  %.9250.not.i.i = icmp slt i64 %.10.i.i, 1
  br i1 %.9250.not.i.i, label %B758.endif.i, label %B46.i.preheader.i

B46.i.preheader.i:                                ; preds = %B758.i
  %sunkaddr4.i = getelementptr inbounds nuw i8, ptr %.62, i64 32
  %sunkaddr5.i = getelementptr inbounds nuw i8, ptr %.62, i64 40
  %sunkaddr6.i = getelementptr inbounds nuw i8, ptr %.62, i64 80
  br label %B46.i.i9

B46.i.i9:                                         ; preds = %B382.i.i, %B46.i.preheader.i
  %lsr.iv3.i.i = phi i64 [ %lsr.iv.next4.i.i, %B382.i.i ], [ %.10.i.i, %B46.i.preheader.i ]
  %lsr.iv1.i.i = phi i64 [ %lsr.iv.next2.i.i, %B382.i.i ], [ 0, %B46.i.preheader.i ]
  %lsr.iv.i.i = phi i64 [ %lsr.iv.next.i.i, %B382.i.i ], [ 0, %B46.i.preheader.i ]
  %.136.i.i = load i64, ptr %sunkaddr4.i, align 1, !noalias !38
  %32 = add i64 %.136.i.i, %lsr.iv1.i.i
  %.140.i.i = inttoptr i64 %32 to ptr
  %.141.i.i10 = getelementptr inbounds nuw i8, ptr %.140.i.i, i64 32
  %.143.i.i = load i64, ptr %.141.i.i10, align 1, !noalias !38
  %.148.i.i = icmp sgt i64 %.143.i.i, -1
  br i1 %.148.i.i, label %B124.i.i, label %B382.i.i

B124.i.i:                                         ; preds = %B46.i.i9
  %.153.i.i = load i64, ptr %sunkaddr5.i, align 1, !noalias !38
  %33 = add i64 %lsr.iv.i.i, 8
  %34 = add i64 %33, %.153.i.i
  %.161.i.i = load i64, ptr %sunkaddr6.i, align 1, !noalias !38
  %.166.i.i = mul i64 %.143.i.i, 192
  %.167.i.i = add i64 %.166.i.i, 160
  %.168.i.i = add nsw i64 %.167.i.i, %.161.i.i
  %.181.i.i = inttoptr i64 %.168.i.i to ptr
  %.183.i.i = load double, ptr %.181.i.i, align 8, !noalias !38
  %.184.i.i = getelementptr i8, ptr %.181.i.i, i64 8
  %.185.i.i = load double, ptr %.184.i.i, align 8, !noalias !38
  %.186.i.i16 = getelementptr i8, ptr %.181.i.i, i64 16
  %.187.i.i = load double, ptr %.186.i.i16, align 8, !noalias !38
  %.188.i.i = getelementptr i8, ptr %.181.i.i, i64 24
  %.189.i.i = load double, ptr %.188.i.i, align 8, !noalias !38
  %.198.i.i = inttoptr i64 %34 to ptr
  store double %.183.i.i, ptr %.198.i.i, align 8, !noalias !38
  %.203.i.i = getelementptr i8, ptr %.198.i.i, i64 8
  store double %.185.i.i, ptr %.203.i.i, align 8, !noalias !38
  %.206.i.i = getelementptr i8, ptr %.198.i.i, i64 16
  store double %.187.i.i, ptr %.206.i.i, align 8, !noalias !38
  %.209.i.i17 = getelementptr i8, ptr %.198.i.i, i64 24
  store double %.189.i.i, ptr %.209.i.i17, align 8, !noalias !38
  %.218.i.i18 = load i64, ptr %sunkaddr5.i, align 1, !noalias !38
  %35 = add i64 %.218.i.i18, %lsr.iv.i.i
  %.222.i.i = inttoptr i64 %35 to ptr
  %.227.i.i = load i64, ptr %.222.i.i, align 1, !noalias !38
  %.228.i.i = add nsw i64 %.227.i.i, 1
  store i64 %.228.i.i, ptr %.222.i.i, align 1, !noalias !38
  br label %B382.i.i

B382.i.i:                                         ; preds = %B124.i.i, %B46.i.i9
  %lsr.iv.next.i.i = add i64 %lsr.iv.i.i, 40
  %lsr.iv.next2.i.i = add i64 %lsr.iv1.i.i, 96
  %lsr.iv.next4.i.i = add nsw i64 %lsr.iv3.i.i, -1
  %exitcond.not.i.i11 = icmp eq i64 %lsr.iv.next4.i.i, 0
  br i1 %exitcond.not.i.i11, label %B758.endif.i, label %B46.i.i9

B800.i:                                           ; preds = %B758.endif.i
  %.504.i = tail call ptr @PyEval_RestoreThread(i64 %"$phi666.0.2.0.i"), !noalias !17
  br label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread

B68.endif.i:                                      ; preds = %B276.endif.endif.endif
  %.56.i = add nsw i64 %.7.i2, 16
  %.5.i1.i = inttoptr i64 %.56.i to ptr
  %.7.i2.i = load double, ptr %.5.i1.i, align 8, !noalias !41
  %.81.i = fcmp ogt double %.7.i2.i, 0.000000e+00
  %.87.i1 = fcmp ole double %.7.i2.i, 0x7FEFFFFFFFFFFFFF
  %or.cond.i2 = and i1 %.81.i, %.87.i1
  br i1 %or.cond.i2, label %B164.i, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread

B470.endif.i:                                     ; preds = %B410.i, %B336.i
  %.296.i = getelementptr inbounds nuw i8, ptr %.62, i64 216
  %.298.i = load double, ptr %.296.i, align 1, !noalias !17
  %sunkaddr34.i = inttoptr i64 %.7.i2 to ptr
  %sunkaddr35.i = getelementptr i8, ptr %sunkaddr34.i, i64 16
  %.7.i4.i = load double, ptr %sunkaddr35.i, align 8, !noalias !44
  %.328.i = fmul double %.298.i, %.7.i4.i
  %.330.i = getelementptr inbounds nuw i8, ptr %.62, i64 224
  store double %.328.i, ptr %.330.i, align 1, !noalias !17
  %.35.i.i = getelementptr inbounds nuw i8, ptr %.62, i64 48
  %.37.i.i = load i64, ptr %.35.i.i, align 1, !noalias !47
  %.119119.not.i.i = icmp slt i64 %.37.i.i, 1
  br i1 %.119119.not.i.i, label %B470.endif.endif.i, label %B78.lr.ph.i.i

B78.lr.ph.i.i:                                    ; preds = %B470.endif.i
  %sunkaddr.i5.i = getelementptr inbounds nuw i8, ptr %.62, i64 40
  %.13.i.i = load i64, ptr %sunkaddr.i5.i, align 1, !noalias !47
  %sunkaddr7.i = getelementptr inbounds nuw i8, ptr %.62, i64 32
  br label %B78.i.i

B78.i.i:                                          ; preds = %B457.i.i, %B78.lr.ph.i.i
  %lsr.iv.i = phi i64 [ %lsr.iv.next.i, %B457.i.i ], [ 0, %B78.lr.ph.i.i ]
  %lsr.iv3.i7.i = phi i64 [ %lsr.iv.next4.i13.i, %B457.i.i ], [ 0, %B78.lr.ph.i.i ]
  %last_carry.2.0125.i.i = phi i64 [ %last_carry.3.1.i.i, %B457.i.i ], [ %.13.i.i, %B78.lr.ph.i.i ]
  %last_count.2.0124.i.i = phi i64 [ %last_count.3.1.i.i, %B457.i.i ], [ -1, %B78.lr.ph.i.i ]
  %last_row.2.0123.i.i = phi i64 [ %last_row.3.1.i.i, %B457.i.i ], [ -1, %B78.lr.ph.i.i ]
  %last.2.0122.i.i = phi i64 [ %last.3.1.i.i, %B457.i.i ], [ -1, %B78.lr.ph.i.i ]
  %.125118120.i.i = phi i64 [ %.132.i.i, %B457.i.i ], [ 0, %B78.lr.ph.i.i ]
  %.132.i.i = add nuw nsw i64 %.125118120.i.i, 1
  %.163.i.i3 = load i64, ptr %sunkaddr7.i, align 1, !noalias !47
  %36 = add i64 %.163.i.i3, %lsr.iv3.i7.i
  %.167.i9.i = inttoptr i64 %36 to ptr
  %.172.i.i4 = getelementptr inbounds nuw i8, ptr %.167.i9.i, i64 32
  %.174.i.i = load i64, ptr %.172.i.i4, align 1, !noalias !47
  %.175.i.i = icmp slt i64 %.174.i.i, 0
  br i1 %.175.i.i, label %B457.i.i, label %B158.i.i

B158.i.i:                                         ; preds = %B78.i.i
  %.209.i10.i = load i64, ptr %sunkaddr.i5.i, align 1, !noalias !47
  %37 = add i64 %.209.i10.i, %lsr.iv.i
  %38 = add i64 %37, 8
  %.224.i.i5 = inttoptr i64 %37 to ptr
  %.227.i11.i = load i64, ptr %.224.i.i5, align 1, !noalias !47
  %.232.i.i = icmp slt i64 %last.2.0122.i.i, 0
  %.pre.i = inttoptr i64 %lsr.iv3.i7.i to ptr
  br i1 %.232.i.i, label %B352.i.i, label %B286.i.i

B286.i.i:                                         ; preds = %B158.i.i
  %sunkaddr8.i.i = getelementptr i8, ptr %.pre.i, i64 %.163.i.i3
  %sunkaddr9.i.i = getelementptr i8, ptr %sunkaddr8.i.i, i64 24
  %.237.i.i = load i64, ptr %sunkaddr9.i.i, align 1, !noalias !47
  %.239.i.i = icmp ne i64 %.237.i.i, %last_row.2.0123.i.i
  %.243.i.i = icmp ne i64 %.227.i11.i, %last_count.2.0124.i.i
  %or.cond.i.i = select i1 %.239.i.i, i1 true, i1 %.243.i.i
  br i1 %or.cond.i.i, label %B352.i.i, label %B320.i.i

B320.i.i:                                         ; preds = %B286.i.i
  %.5.i.i.i.i = inttoptr i64 %38 to ptr
  %.7.i.i.i.i = load double, ptr %.5.i.i.i.i, align 8, !noalias !50
  %.5.i13.i.i.i = inttoptr i64 %last_carry.2.0125.i.i to ptr
  %.7.i14.i.i.i = load double, ptr %.5.i13.i.i.i, align 8, !noalias !55
  %.185.i.i.i = fcmp une double %.7.i.i.i.i, %.7.i14.i.i.i
  br i1 %.185.i.i.i, label %B352.i.i, label %B46.endif.endif.1.i.i.i

B46.endif.endif.1.i.i.i:                          ; preds = %B320.i.i
  %39 = add i64 %37, 16
  %.5.i1.i.i.i = inttoptr i64 %39 to ptr
  %.7.i2.i.i.i = load double, ptr %.5.i1.i.i.i, align 8, !noalias !58
  %.160.1.i.i.i = add nsw i64 %last_carry.2.0125.i.i, 8
  %.5.i3.i.i.i = inttoptr i64 %.160.1.i.i.i to ptr
  %.7.i4.i.i.i = load double, ptr %.5.i3.i.i.i, align 8, !noalias !61
  %.185.1.i.i.i = fcmp une double %.7.i2.i.i.i, %.7.i4.i.i.i
  br i1 %.185.1.i.i.i, label %B352.i.i, label %B46.endif.endif.2.i.i.i

B46.endif.endif.2.i.i.i:                          ; preds = %B46.endif.endif.1.i.i.i
  %40 = add i64 %37, 24
  %.5.i5.i.i.i = inttoptr i64 %40 to ptr
  %.7.i6.i.i.i = load double, ptr %.5.i5.i.i.i, align 8, !noalias !64
  %.160.2.i.i.i = add nsw i64 %last_carry.2.0125.i.i, 16
  %.5.i7.i.i.i = inttoptr i64 %.160.2.i.i.i to ptr
  %.7.i8.i.i.i = load double, ptr %.5.i7.i.i.i, align 8, !noalias !67
  %.185.2.i.i.i = fcmp une double %.7.i6.i.i.i, %.7.i8.i.i.i
  br i1 %.185.2.i.i.i, label %B352.i.i, label %B46.endif.endif.3.i.i.i

B46.endif.endif.3.i.i.i:                          ; preds = %B46.endif.endif.2.i.i.i
  %sunkaddr10.i6 = getelementptr i8, ptr %.224.i.i5, i64 32
  %.7.i10.i.i.i = load double, ptr %sunkaddr10.i6, align 8, !noalias !70
  %.160.3.i.i.i = add nsw i64 %last_carry.2.0125.i.i, 24
  %.5.i11.i.i.i = inttoptr i64 %.160.3.i.i.i to ptr
  %.7.i12.i.i.i = load double, ptr %.5.i11.i.i.i, align 8, !noalias !73
  %.185.3.i.i.i = fcmp une double %.7.i10.i.i.i, %.7.i12.i.i.i
  br i1 %.185.3.i.i.i, label %B352.i.i, label %B440.i.i

B352.i.i:                                         ; preds = %B46.endif.endif.3.i.i.i, %B46.endif.endif.2.i.i.i, %B46.endif.endif.1.i.i.i, %B320.i.i, %B286.i.i, %B158.i.i
  %.317.i.i = load i64, ptr %.62, align 1, !noalias !47
  %.320.i.i = inttoptr i64 %.317.i.i to ptr
  tail call void %.320.i.i(i64 %.53, i64 0, i64 %.125118120.i.i), !noalias !47
  %sunkaddr11.i.i = getelementptr i8, ptr %.pre.i, i64 %.163.i.i3
  %sunkaddr12.i.i = getelementptr i8, ptr %sunkaddr11.i.i, i64 24
  %.325.i.i = load i64, ptr %sunkaddr12.i.i, align 1, !noalias !47
  br label %B440.i.i

B440.i.i:                                         ; preds = %B352.i.i, %B46.endif.endif.3.i.i.i
  %last.4.3.i.i = phi i64 [ %.125118120.i.i, %B352.i.i ], [ %last.2.0122.i.i, %B46.endif.endif.3.i.i.i ]
  %last_row.4.3.i.i = phi i64 [ %.325.i.i, %B352.i.i ], [ %last_row.2.0123.i.i, %B46.endif.endif.3.i.i.i ]
  %last_count.4.3.i.i = phi i64 [ %.227.i11.i, %B352.i.i ], [ %last_count.2.0124.i.i, %B46.endif.endif.3.i.i.i ]
  %last_carry.4.3.i.i = phi i64 [ %38, %B352.i.i ], [ %last_carry.2.0125.i.i, %B46.endif.endif.3.i.i.i ]
  %sunkaddr14.i.i = getelementptr i8, ptr %.pre.i, i64 %.163.i.i3
  %sunkaddr15.i.i = getelementptr i8, ptr %sunkaddr14.i.i, i64 32
  store i64 %last.4.3.i.i, ptr %sunkaddr15.i.i, align 1, !noalias !47
  br label %B457.i.i

B457.i.i:                                         ; preds = %B440.i.i, %B78.i.i
  %last.3.1.i.i = phi i64 [ %last.4.3.i.i, %B440.i.i ], [ %last.2.0122.i.i, %B78.i.i ]
  %last_row.3.1.i.i = phi i64 [ %last_row.4.3.i.i, %B440.i.i ], [ %last_row.2.0123.i.i, %B78.i.i ]
  %last_count.3.1.i.i = phi i64 [ %last_count.4.3.i.i, %B440.i.i ], [ %last_count.2.0124.i.i, %B78.i.i ]
  %last_carry.3.1.i.i = phi i64 [ %last_carry.4.3.i.i, %B440.i.i ], [ %last_carry.2.0125.i.i, %B78.i.i ]
  %lsr.iv.next4.i13.i = add i64 %lsr.iv3.i7.i, 96
  %lsr.iv.next.i = add i64 %lsr.iv.i, 40
  %exitcond.not.i14.i = icmp eq i64 %.37.i.i, %.132.i.i
  br i1 %exitcond.not.i14.i, label %B470.endif.endif.i, label %B78.i.i

B470.endif.endif.i:                               ; preds = %B457.i.i, %B470.endif.i
  %.10.i16.i = load i64, ptr %.128.i, align 1, !noalias !76
  %.9240.not.i.i = icmp slt i64 %.10.i16.i, 1
  br i1 %.9240.not.i.i, label %B470.endif.endif.endif.i, label %B46.lr.ph.i.i

B46.lr.ph.i.i:                                    ; preds = %B470.endif.endif.i
  %41 = add nsw i64 %.10.i16.i, -1
  %sunkaddr13.i = getelementptr inbounds nuw i8, ptr %.62, i64 64
  %sunkaddr14.i = getelementptr inbounds nuw i8, ptr %.62, i64 88
  br label %B46.i17.i

B46thread-pre-split.i.i8:                         ; preds = %B46.endif.i.i
  %.138.pr.i.i = load i64, ptr %.128.i, align 1, !noalias !76
  %lsr.iv.next.i23.i = add i64 %lsr.iv.i18.i, 64
  %.105.i.i = add nuw nsw i64 %.983941.i.i, 1
  br label %B46.i17.i

B46.i17.i:                                        ; preds = %B46thread-pre-split.i.i8, %B46.lr.ph.i.i
  %lsr.iv.i18.i = phi i64 [ %lsr.iv.next.i23.i, %B46thread-pre-split.i.i8 ], [ 0, %B46.lr.ph.i.i ]
  %.138.i.i = phi i64 [ %.138.pr.i.i, %B46thread-pre-split.i.i8 ], [ %.10.i16.i, %B46.lr.ph.i.i ]
  %.983941.i.i = phi i64 [ %.105.i.i, %B46thread-pre-split.i.i8 ], [ 0, %B46.lr.ph.i.i ]
  %.133.i.i = load i64, ptr %sunkaddr13.i, align 1, !noalias !76
  %.134.i.i = mul nsw i64 %.133.i.i, %.983941.i.i
  %.141.i19.i = icmp eq i64 %.138.i.i, 0
  br i1 %.141.i19.i, label %B46.endif.i.i, label %B46.else.i.i7, !prof !6

B46.else.i.i7:                                    ; preds = %B46.i17.i
  %.152.i.i = icmp ne i64 %.134.i.i, -9223372036854775808
  %.153.i20.i = icmp ne i64 %.138.i.i, -1
  %.154.not.i.i = or i1 %.153.i20.i, %.152.i.i
  br i1 %.154.not.i.i, label %B46.else.if.i.i, label %B46.endif.i.i, !prof !7

B46.endif.i.i:                                    ; preds = %55, %B46.else.i.i7, %B46.i17.i
  %quot.0.i.i = phi i64 [ 0, %B46.i17.i ], [ 0, %B46.else.i.i7 ], [ %spec.select.i.i20, %55 ]
  %.182.i.i = load i64, ptr %sunkaddr14.i, align 1, !noalias !76
  %42 = add i64 %.182.i.i, %lsr.iv.i18.i
  %.185.i21.i = inttoptr i64 %42 to ptr
  store i64 %quot.0.i.i, ptr %.185.i21.i, align 8, !noalias !76
  %exitcond.not.i22.i = icmp eq i64 %41, %.983941.i.i
  br i1 %exitcond.not.i22.i, label %B470.endif.endif.endif.i, label %B46thread-pre-split.i.i8

B46.else.if.i.i:                                  ; preds = %B46.else.i.i7
  %43 = or i64 %.134.i.i, %.138.i.i
  %44 = icmp ult i64 %43, 4294967296
  br i1 %44, label %45, label %52

45:                                               ; preds = %B46.else.if.i.i
  %46 = trunc nuw i64 %.138.i.i to i32
  %47 = trunc nuw i64 %.134.i.i to i32
  %48 = udiv i32 %47, %46
  %49 = urem i32 %47, %46
  %50 = zext i32 %48 to i64
  %51 = zext i32 %49 to i64
  br label %55

52:                                               ; preds = %B46.else.if.i.i
  %53 = sdiv i64 %.134.i.i, %.138.i.i
  %54 = srem i64 %.134.i.i, %.138.i.i
  br label %55

55:                                               ; preds = %52, %45
  %56 = phi i64 [ %50, %45 ], [ %53, %52 ]
  %57 = phi i64 [ %51, %45 ], [ %54, %52 ]
  %.159.i.i = xor i64 %57, %.138.i.i
  %.160.i.i = icmp slt i64 %.159.i.i, 0
  %.161.i24.i = icmp ne i64 %57, 0
  %.162.i.i19 = and i1 %.161.i24.i, %.160.i.i
  %.167.i25.i = sext i1 %.162.i.i19 to i64
  %spec.select.i.i20 = add i64 %56, %.167.i25.i
  br label %B46.endif.i.i

B470.endif.endif.endif.i:                         ; preds = %B46.endif.i.i, %B470.endif.endif.i
  %.387.i = getelementptr inbounds nuw i8, ptr %.62, i64 112
  %.389.i = load i64, ptr %.387.i, align 1, !noalias !17
  %.390.i = icmp sgt i64 %.389.i, 32767
  br i1 %.390.i, label %B636.i, label %B666.i

B758.endif.i:                                     ; preds = %B382.i.i, %B758.i
  %.244.i.i12 = getelementptr inbounds nuw i8, ptr %.62, i64 72
  %.246.i.i13 = load i64, ptr %.244.i.i12, align 1, !noalias !38
  %.5.i.i.i = inttoptr i64 %.246.i.i13 to ptr
  %.7.i.i.i = load double, ptr %.5.i.i.i, align 8, !noalias !79
  %.272.i.i14 = getelementptr inbounds nuw i8, ptr %.62, i64 232
  store double %.7.i.i.i, ptr %.272.i.i14, align 1, !noalias !38
  %.276.i.i = getelementptr inbounds nuw i8, ptr %.62, i64 192
  %.278.i.i15 = load i64, ptr %.276.i.i, align 1, !noalias !38
  %.279.i.i = add nsw i64 %.278.i.i15, 1
  store i64 %.279.i.i, ptr %.276.i.i, align 1, !noalias !38
  %.501.not.i = icmp eq i64 %"$phi666.0.2.0.i", 0
  br i1 %.501.not.i, label %_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread, label %B800.i

_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit.thread: ; preds = %B186.i, %B276.endif.endif.endif, %B68.endif.i, %B758.endif.i, %B800.i
  %.sink.i.ph = phi i64 [ 0, %B800.i ], [ 0, %B758.endif.i ], [ -3, %B68.endif.i ], [ -3, %B276.endif.endif.endif ], [ -2, %B186.i ]
  call void @llvm.lifetime.end.p0(ptr nonnull %.163.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.242.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.415.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.445.i)
  store i64 0, ptr %.67, align 1
  br label %B440

_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx.exit: ; preds = %B280.i, %B410.i
  %.sink.i = phi i64 [ %.256.i, %B410.i ], [ %.177.i, %B280.i ]
  call void @llvm.lifetime.end.p0(ptr nonnull %.163.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.242.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.415.i)
  call void @llvm.lifetime.end.p0(ptr nonnull %.445.i)
  store i64 0, ptr %.67, align 1
  %.223.not = icmp eq i64 %.sink.i, 4611686018427387904
  br i1 %.223.not, label %common.ret, label %B440
}

declare i64 @PyLong_AsLongLong(i64) local_unnamed_addr

declare i64 @PyLong_FromLongLong(i64) local_unnamed_addr

declare i64 @PyThread_get_thread_ident() local_unnamed_addr

define i64 @pyfastlr_entry(i64 %.1, i64 %.2, i64 %.3) local_unnamed_addr {
entry:
  %.5 = alloca i64, align 8
  store i64 0, ptr %.5, align 8
  call fastcc void @_ZN16pyfastlr_kernels6launch11make_launch12_3clocals_3e6launchB2v1B56c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAg6cJqBrMeIZJFEGM0QQAExxx(ptr nonnull %.5, i64 %.1, i64 %.2, i64 %.3) #3
  %.19 = load i64, ptr %.5, align 8
  ret i64 %.19
}

declare void @Py_DecRef(ptr) local_unnamed_addr

; Function Attrs: nounwind
declare void @llvm.x86.sse2.pause() #0

declare i32 @pthread_mutex_lock(i64) local_unnamed_addr

declare i32 @pthread_cond_wait(i64, i64) local_unnamed_addr

declare i32 @pthread_mutex_unlock(i64) local_unnamed_addr

define internal fastcc void @_ZN16pyfastlr_kernels6launch4bindB2v7B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx(ptr noalias nonnull writeonly captures(none) %retptr, ptr readonly captures(none) %arg.job, i64 %arg.gradients, i64 %arg.parameters) unnamed_addr {
B0:
  %.14 = getelementptr inbounds nuw i8, ptr %arg.job, i64 24
  %.16 = load i64, ptr %.14, align 1
  %.17.not = icmp eq i64 %.16, 0
  br i1 %.17.not, label %B18, label %B70

B18:                                              ; preds = %B0
  %.20 = tail call i64 @PyList_Size(i64 %arg.gradients)
  %.22 = getelementptr inbounds nuw i8, ptr %arg.job, i64 16
  %.24 = load i64, ptr %.22, align 1
  %.25.not = icmp eq i64 %.20, %.24
  br i1 %.25.not, label %B70, label %common.ret

common.ret:                                       ; preds = %B720.endif, %B656.endif, %B592.endif, %_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx.exit, %B800, %B160.endif.endif.i128, %B1054, %B1012.endif, %B466, %B370, %B92, %B18
  %.sink = phi i64 [ 0, %B1054 ], [ 0, %B1012.endif ], [ -4, %B92 ], [ %.315, %B466 ], [ %.283, %B370 ], [ 1, %B18 ], [ %.157, %B160.endif.endif.i128 ], [ %.157, %B800 ], [ %.157, %_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx.exit ], [ %.157, %B592.endif ], [ %.157, %B656.endif ], [ %.157, %B720.endif ]
  store i64 %.sink, ptr %retptr, align 8
  ret void

B70:                                              ; preds = %B18, %B0
  %.36 = getelementptr inbounds nuw i8, ptr %arg.job, i64 152
  %.38 = load i64, ptr %.36, align 1
  %.40.not = icmp eq i64 %arg.parameters, %.38
  br i1 %.40.not, label %B70.B154.endif_crit_edge, label %B92

B70.B154.endif_crit_edge:                         ; preds = %B70
  %.59.phi.trans.insert = getelementptr inbounds nuw i8, ptr %arg.job, i64 16
  %.61.pre = load i64, ptr %.59.phi.trans.insert, align 1
  br label %B154.endif

B92:                                              ; preds = %B70
  %.43 = tail call i64 @PyList_Size(i64 %arg.parameters)
  %.45 = getelementptr inbounds nuw i8, ptr %arg.job, i64 16
  %.47 = load i64, ptr %.45, align 1
  %.48.not = icmp eq i64 %.43, %.47
  br i1 %.48.not, label %B154.endif, label %common.ret

B328:                                             ; preds = %B198.endif
  %.12.i = add nsw i64 %.200, 24
  %.5.i.i = inttoptr i64 %.12.i to ptr
  %.7.i.i = load i32, ptr %.5.i.i, align 4, !noalias !82
  %sunkaddr = inttoptr i64 %.188 to ptr
  %sunkaddr240 = getelementptr i8, ptr %sunkaddr, i64 %.190
  %sunkaddr241 = getelementptr i8, ptr %sunkaddr240, i64 24
  %.42.i = load i64, ptr %sunkaddr241, align 1, !noalias !87
  %.43.i = sext i32 %.7.i.i to i64
  %.44.not.i = icmp eq i64 %.42.i, %.43.i
  br i1 %.44.not.i, label %B72.endif.endif.i, label %B370

B158.i:                                           ; preds = %B160.endif.endif.i, %B72.endif.endif.i
  %lsr.iv10.i = phi i64 [ %lsr.iv.next11.i, %B160.endif.endif.i ], [ %0, %B72.endif.endif.i ]
  %lsr.iv.i = phi i64 [ %lsr.iv.next.i, %B160.endif.endif.i ], [ 0, %B72.endif.endif.i ]
  %lsr.iv.next11.i = add nsw i64 %lsr.iv10.i, -1
  %exitcond.not.i = icmp eq i64 %lsr.iv.next11.i, 0
  br i1 %exitcond.not.i, label %B394, label %B160.endif.endif.i

B72.endif.endif.i:                                ; preds = %B328
  %.55.i = add nsw i64 %.200, 32
  %.5.i4.i = inttoptr i64 %.55.i to ptr
  %.7.i5.i = load i64, ptr %.5.i4.i, align 8, !noalias !88
  %..88.i = tail call i64 @llvm.smax.i64(i64 %.42.i, i64 0)
  %0 = add nuw nsw i64 %..88.i, 1
  %sunkaddr102 = getelementptr i8, ptr %sunkaddr240, i64 32
  br label %B158.i

B160.endif.endif.i:                               ; preds = %B158.i
  %lsr.iv.next.i = add i64 %lsr.iv.i, 8
  %1 = add i64 %lsr.iv.i, %.7.i5.i
  %.5.i6.i = inttoptr i64 %1 to ptr
  %.7.i7.i = load i64, ptr %.5.i6.i, align 8, !noalias !91
  %.238.i = load i64, ptr %sunkaddr102, align 1, !noalias !87
  %2 = add i64 %.238.i, %lsr.iv.i
  %.5.i8.i = inttoptr i64 %2 to ptr
  %.7.i9.i = load i64, ptr %.5.i8.i, align 8, !noalias !94
  %.265.not.i = icmp eq i64 %.7.i7.i, %.7.i9.i
  br i1 %.265.not.i, label %B158.i, label %B370

B370:                                             ; preds = %B198.endif, %B328, %B160.endif.endif.i
  %.283 = sub nuw nsw i64 -4, %.150289304
  br label %common.ret

B394:                                             ; preds = %B158.i
  %.291 = load i64, ptr %.36, align 1
  %.293.not = icmp eq i64 %arg.parameters, %.291
  br i1 %.293.not, label %B490, label %B416

B416:                                             ; preds = %B394
  %.297 = tail call i64 @PyList_GetItem(i64 %arg.parameters, i64 %.150289304)
  %sunkaddr107 = getelementptr i8, ptr %sunkaddr240, i64 8
  %.301 = load i64, ptr %sunkaddr107, align 1
  %.302.not = icmp eq i64 %.297, %.301
  br i1 %.302.not, label %B490, label %B466

B466:                                             ; preds = %B416
  %.315 = sub nuw nsw i64 -4, %.150289304
  br label %common.ret

B490:                                             ; preds = %B416, %B394
  %.323 = load i64, ptr %.14, align 1
  %.324.not = icmp eq i64 %.323, 0
  br i1 %.324.not, label %B508, label %B538

B508:                                             ; preds = %B490
  %.333 = tail call i64 @PyList_GetItem(i64 %arg.gradients, i64 %.150289304)
  br label %B538

B538:                                             ; preds = %B508, %B490
  %"$phi538.1.2.1" = phi i64 [ %.333, %B508 ], [ %arg.gradients, %B490 ]
  %.346 = load i64, ptr %.36, align 1
  %.348 = icmp eq i64 %"$phi538.1.2.1", %.346
  br i1 %.348, label %B562, label %B592.endif

B562:                                             ; preds = %B538
  %.353 = load i64, ptr %.14, align 1
  %.354.not = icmp eq i64 %.353, 0
  br i1 %.354.not, label %B1247, label %B592.endif

B800:                                             ; preds = %B720.endif
  %.12.i109 = add nsw i64 %"$phi538.1.2.1", 24
  %.5.i.i110 = inttoptr i64 %.12.i109 to ptr
  %.7.i.i111 = load i32, ptr %.5.i.i110, align 4, !noalias !97
  %.42.i113 = load i64, ptr %sunkaddr241, align 1, !noalias !102
  %.43.i114 = sext i32 %.7.i.i111 to i64
  %.44.not.i115 = icmp eq i64 %.42.i113, %.43.i114
  br i1 %.44.not.i115, label %B72.endif.endif.i117, label %common.ret

B158.i123:                                        ; preds = %B160.endif.endif.i128, %B72.endif.endif.i117
  %lsr.iv10.i124 = phi i64 [ %lsr.iv.next11.i126, %B160.endif.endif.i128 ], [ %3, %B72.endif.endif.i117 ]
  %lsr.iv.i125 = phi i64 [ %lsr.iv.next.i129, %B160.endif.endif.i128 ], [ 0, %B72.endif.endif.i117 ]
  %lsr.iv.next11.i126 = add nsw i64 %lsr.iv10.i124, -1
  %exitcond.not.i127 = icmp eq i64 %lsr.iv.next11.i126, 0
  br i1 %exitcond.not.i127, label %B846.endif, label %B160.endif.endif.i128

B72.endif.endif.i117:                             ; preds = %B800
  %.55.i118 = add nsw i64 %"$phi538.1.2.1", 32
  %.5.i4.i119 = inttoptr i64 %.55.i118 to ptr
  %.7.i5.i120 = load i64, ptr %.5.i4.i119, align 8, !noalias !103
  %..88.i121 = tail call i64 @llvm.smax.i64(i64 %.42.i113, i64 0)
  %3 = add nuw nsw i64 %..88.i121, 1
  br label %B158.i123

B160.endif.endif.i128:                            ; preds = %B158.i123
  %lsr.iv.next.i129 = add i64 %lsr.iv.i125, 8
  %4 = add i64 %lsr.iv.i125, %.7.i5.i120
  %.5.i6.i130 = inttoptr i64 %4 to ptr
  %.7.i7.i131 = load i64, ptr %.5.i6.i130, align 8, !noalias !106
  %.238.i132 = load i64, ptr %sunkaddr102, align 1, !noalias !102
  %5 = add i64 %.238.i132, %lsr.iv.i125
  %.5.i8.i133 = inttoptr i64 %5 to ptr
  %.7.i9.i134 = load i64, ptr %.5.i8.i133, align 8, !noalias !109
  %.265.not.i135 = icmp eq i64 %.7.i7.i131, %.7.i9.i134
  br i1 %.265.not.i135, label %B158.i123, label %common.ret

B914:                                             ; preds = %B846.endif
  %.565 = load i64, ptr %sunkaddr126, align 1
  %.566 = mul nsw i64 %.565, %.554
  %.568 = add nsw i64 %.566, %.7.i138
  %.16.i = load i64, ptr %sunkaddr127, align 1, !noalias !112
  %.26.i = icmp sgt i64 %.16.i, 0
  br i1 %.26.i, label %B34.preheader.i, label %B1247

B34.preheader.i:                                  ; preds = %B914
  %.44.i = load i64, ptr %sunkaddr129, align 1, !noalias !112
  br label %B34.endif.i

B138.i:                                           ; preds = %B34.endif.i
  %.135.i = icmp sgt i64 %low.3.1.i, 0
  br i1 %.135.i, label %_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx.exit, label %B1247

B34.endif.i:                                      ; preds = %B34.endif.i, %B34.preheader.i
  %high.2.0.i = phi i64 [ %high.3.1.i, %B34.endif.i ], [ %.16.i, %B34.preheader.i ]
  %low.2.0.i = phi i64 [ %low.3.1.i, %B34.endif.i ], [ 0, %B34.preheader.i ]
  %.35.i = add nuw nsw i64 %low.2.0.i, %high.2.0.i
  %.36.i = lshr i64 %.35.i, 1
  %.46.i = shl nsw i64 %.36.i, 3
  %.47.i = add nsw i64 %.46.i, %.44.i
  %.5.i.i140 = inttoptr i64 %.47.i to ptr
  %.7.i.i141 = load i64, ptr %.5.i.i140, align 8, !noalias !115
  %.75.i = icmp slt i64 %.7.i.i141, %.568
  %.86.i = add nuw nsw i64 %.36.i, 1
  %high.3.1.i = select i1 %.75.i, i64 %high.2.0.i, i64 %.36.i
  %low.3.1.i = select i1 %.75.i, i64 %.86.i, i64 %low.2.0.i
  %.117.i = icmp slt i64 %low.3.1.i, %high.3.1.i
  br i1 %.117.i, label %B34.endif.i, label %B138.i

_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx.exit: ; preds = %B138.i
  %.152.i = add nuw nsw i64 %low.3.1.i, %.16.i
  %.155.i = shl i64 %.152.i, 3
  %.156.i = add i64 %.44.i, -8
  %.157.i = add i64 %.156.i, %.155.i
  %.5.i2.i = inttoptr i64 %.157.i to ptr
  %.7.i3.i = load i64, ptr %.5.i2.i, align 8, !noalias !118
  %.183.i.not = icmp sgt i64 %.7.i3.i, %.7.i138
  br i1 %.183.i.not, label %common.ret, label %B1247

B1054:                                            ; preds = %B1054.preheader, %B1054
  %lsr.iv238 = phi i64 [ %lsr.iv.next239, %B1054 ], [ %.646, %B1054.preheader ]
  %lsr.iv = phi i64 [ %lsr.iv.next, %B1054 ], [ 0, %B1054.preheader ]
  %.767 = load i64, ptr %sunkaddr130, align 1
  %6 = add i64 %.767, %lsr.iv
  %.770 = inttoptr i64 %6 to ptr
  %.777 = load i64, ptr %sunkaddr131, align 1
  %.781 = load i64, ptr %.770, align 1
  %.782 = mul i64 %.781, 56
  %.783 = add i64 %.782, %.777
  %.784 = inttoptr i64 %.783 to ptr
  %.785 = getelementptr inbounds nuw i8, ptr %.784, i64 48
  %.787 = load i64, ptr %.785, align 1
  %.789 = getelementptr inbounds nuw i8, ptr %.770, i64 8
  %.791 = load i64, ptr %.789, align 1
  %.792 = add nsw i64 %.791, %.787
  %.794 = getelementptr inbounds nuw i8, ptr %.770, i64 48
  store i64 %.792, ptr %.794, align 1
  %.797.not = icmp eq i64 %.787, 0
  %spec.select = sext i1 %.797.not to i64
  %.808 = getelementptr inbounds nuw i8, ptr %.770, i64 32
  store i64 %spec.select, ptr %.808, align 1
  %lsr.iv.next = add i64 %lsr.iv, 96
  %lsr.iv.next239 = add i64 %lsr.iv238, -1
  %exitcond402.not = icmp eq i64 %lsr.iv.next239, 0
  br i1 %exitcond402.not, label %common.ret, label %B1054

B1247:                                            ; preds = %B846.endif, %_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx.exit, %B138.i, %B914, %B562
  %.538.sink = phi i64 [ 0, %B562 ], [ %.7.i138, %B846.endif ], [ %.7.i138, %_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx.exit ], [ %.7.i138, %B138.i ], [ %.7.i138, %B914 ]
  %sunkaddr134 = getelementptr i8, ptr %sunkaddr240, i64 48
  store i64 %.538.sink, ptr %sunkaddr134, align 1
  %exitcond.not = icmp eq i64 %.157, %.61
  br i1 %exitcond.not, label %B1012.endif, label %B198.endif

B154.endif:                                       ; preds = %B92, %B70.B154.endif_crit_edge
  %.61 = phi i64 [ %.61.pre, %B70.B154.endif_crit_edge ], [ %.43, %B92 ]
  %.144303.not = icmp slt i64 %.61, 1
  br i1 %.144303.not, label %B1012.endif, label %B198.endif.preheader

B198.endif.preheader:                             ; preds = %B154.endif
  %sunkaddr135 = getelementptr inbounds nuw i8, ptr %arg.job, i64 8
  %sunkaddr136 = getelementptr inbounds nuw i8, ptr %arg.job, i64 136
  %sunkaddr137 = getelementptr inbounds nuw i8, ptr %arg.job, i64 128
  %sunkaddr126 = getelementptr inbounds nuw i8, ptr %arg.job, i64 120
  %sunkaddr127 = getelementptr inbounds nuw i8, ptr %arg.job, i64 104
  %sunkaddr129 = getelementptr inbounds nuw i8, ptr %arg.job, i64 96
  br label %B198.endif

B198.endif:                                       ; preds = %B198.endif.preheader, %B1247
  %.150289304 = phi i64 [ %.157, %B1247 ], [ 0, %B198.endif.preheader ]
  %.157 = add nuw nsw i64 %.150289304, 1
  %.188 = load i64, ptr %sunkaddr135, align 1
  %.190 = mul i64 %.150289304, 56
  %.191 = add i64 %.188, %.190
  %.192 = inttoptr i64 %.191 to ptr
  %.200 = load i64, ptr %.192, align 1
  %.201 = add nsw i64 %.200, 16
  %.5.i = inttoptr i64 %.201 to ptr
  %.7.i = load i64, ptr %.5.i, align 8, !noalias !121
  %.227 = getelementptr inbounds nuw i8, ptr %.192, i64 16
  %.229 = load i64, ptr %.227, align 1
  %.230.not = icmp eq i64 %.7.i, %.229
  br i1 %.230.not, label %B328, label %B370

B592.endif:                                       ; preds = %B562, %B538
  %.369 = add nsw i64 %"$phi538.1.2.1", 8
  %.5.i103 = inttoptr i64 %.369 to ptr
  %.7.i104 = load i64, ptr %.5.i103, align 8, !noalias !124
  %.397 = load i64, ptr %sunkaddr136, align 1
  %.398.not = icmp eq i64 %.7.i104, %.397
  br i1 %.398.not, label %B656.endif, label %common.ret

B656.endif:                                       ; preds = %B592.endif
  %.402 = add nsw i64 %"$phi538.1.2.1", 56
  %.5.i105 = inttoptr i64 %.402 to ptr
  %.7.i106 = load i64, ptr %.5.i105, align 8, !noalias !127
  %.430 = load i64, ptr %sunkaddr137, align 1
  %.431.not = icmp eq i64 %.7.i106, %.430
  br i1 %.431.not, label %B720.endif, label %common.ret

B720.endif:                                       ; preds = %B656.endif
  %.435 = add nsw i64 %"$phi538.1.2.1", 64
  %.5.i107 = inttoptr i64 %.435 to ptr
  %.7.i108 = load i32, ptr %.5.i107, align 4, !noalias !130
  %7 = and i32 %.7.i108, 257
  %.462.not = icmp eq i32 %7, 257
  br i1 %.462.not, label %B800, label %common.ret

B846.endif:                                       ; preds = %B158.i123
  %.521 = add nsw i64 %"$phi538.1.2.1", 16
  %.5.i137 = inttoptr i64 %.521 to ptr
  %.7.i138 = load i64, ptr %.5.i137, align 8, !noalias !133
  %sunkaddr140 = getelementptr i8, ptr %sunkaddr240, i64 40
  %.554 = load i64, ptr %sunkaddr140, align 1
  %.555 = icmp sgt i64 %.554, 0
  br i1 %.555, label %B914, label %B1247

B1012.endif:                                      ; preds = %B1247, %B154.endif
  %.644 = getelementptr inbounds nuw i8, ptr %arg.job, i64 48
  %.646 = load i64, ptr %.644, align 1
  %.726309.not = icmp slt i64 %.646, 1
  br i1 %.726309.not, label %common.ret, label %B1054.preheader

B1054.preheader:                                  ; preds = %B1012.endif
  %sunkaddr130 = getelementptr inbounds nuw i8, ptr %arg.job, i64 32
  %sunkaddr131 = getelementptr inbounds nuw i8, ptr %arg.job, i64 8
  br label %B1054
}

declare i64 @PyEval_SaveThread() local_unnamed_addr

define internal fastcc void @_ZN16pyfastlr_kernels6launch11walk_sharedB3v15B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE(ptr noalias nonnull writeonly captures(none) %retptr, i64 %arg.address, ptr readonly captures(none) %arg.job) unnamed_addr {
B0:
  %.28 = alloca ptr, align 8
  store ptr null, ptr %.28, align 8
  %.97 = alloca ptr, align 8
  store ptr null, ptr %.97, align 8
  %.11 = getelementptr inbounds nuw i8, ptr %arg.job, i64 208
  %.13 = load i64, ptr %.11, align 1
  %.19 = inttoptr i64 %.13 to ptr
  %.20 = atomicrmw xchg ptr %.19, i64 1 seq_cst, align 8
  %.21.not = icmp eq i64 %.20, 0
  br i1 %.21.not, label %B112, label %B74

B74:                                              ; preds = %B0
  call fastcc void @_ZN16pyfastlr_kernels6launch4walkB3v16B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE23Literal_5bint_5d_280_29(ptr nonnull %.28, i64 %arg.address, ptr nonnull %arg.job)
  br label %common.ret

B112:                                             ; preds = %B0
  %.61 = add nsw i64 %.13, 128
  %.63 = inttoptr i64 %.61 to ptr
  %.64 = atomicrmw xchg ptr %.63, i64 %arg.address seq_cst, align 8
  %.66 = add nsw i64 %.13, 192
  %.68 = getelementptr inbounds nuw i8, ptr %arg.job, i64 200
  %.70 = load i64, ptr %.68, align 1
  %.71 = add nsw i64 %.70, -1
  %.72 = inttoptr i64 %.66 to ptr
  %.73 = atomicrmw xchg ptr %.72, i64 %.71 seq_cst, align 8
  %.75 = add nsw i64 %.13, 64
  %.76 = inttoptr i64 %.75 to ptr
  %.77 = atomicrmw add ptr %.76, i64 1 seq_cst, align 8
  %.79 = add nsw i64 %.13, 320
  %.80 = inttoptr i64 %.79 to ptr
  %.81 = load atomic i64, ptr %.80 seq_cst, align 8
  %.82 = icmp sgt i64 %.81, 0
  br i1 %.82, label %B326, label %B464

B326:                                             ; preds = %B112
  %.85 = add nsw i64 %.13, 512
  %.86 = tail call i32 @pthread_mutex_lock(i64 %.85)
  %.88 = add nsw i64 %.13, 576
  %.89 = tail call i32 @pthread_cond_broadcast(i64 %.88)
  %.92 = tail call i32 @pthread_mutex_unlock(i64 %.85)
  br label %B464

B464:                                             ; preds = %B326, %B112
  store ptr null, ptr %.97, align 8
  call fastcc void @_ZN16pyfastlr_kernels6launch4walkB3v16B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE23Literal_5bint_5d_280_29(ptr nonnull %.97, i64 %arg.address, ptr nonnull %arg.job)
  %sunkaddr3 = getelementptr i8, ptr %.19, i64 192
  %.128 = atomicrmw xchg ptr %sunkaddr3, i64 0 seq_cst, align 8
  %.133 = add nsw i64 %.13, 256
  %.134 = inttoptr i64 %.133 to ptr
  %.135 = load atomic i64, ptr %.134 seq_cst, align 8
  %.136 = icmp sgt i64 %.135, 0
  br i1 %.136, label %B604.preheader, label %B748

B604.preheader:                                   ; preds = %B464
  %sunkaddr1 = getelementptr i8, ptr %.19, i64 256
  br label %B604

B604:                                             ; preds = %B604.preheader, %B694
  %spins.2.0 = phi i64 [ %.142, %B694 ], [ 0, %B604.preheader ]
  %.149 = icmp samesign ult i64 %spins.2.0, 1999
  br i1 %.149, label %B636, label %B666

B636:                                             ; preds = %B604
  tail call void @llvm.x86.sse2.pause()
  br label %B694

B666:                                             ; preds = %B604
  %.153 = tail call i32 @sched_yield()
  br label %B694

B694:                                             ; preds = %B666, %B636
  %.163 = load atomic i64, ptr %sunkaddr1 seq_cst, align 8
  %.164 = icmp sgt i64 %.163, 0
  %.142 = add nuw nsw i64 %spins.2.0, 1
  br i1 %.164, label %B604, label %B748

common.ret:                                       ; preds = %B74, %B748
  store ptr null, ptr %retptr, align 8
  ret void

B748:                                             ; preds = %B694, %B464
  %.178 = atomicrmw xchg ptr %.19, i64 0 seq_cst, align 8
  br label %common.ret
}

define internal fastcc void @_ZN16pyfastlr_kernels6launch4walkB3v16B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE23Literal_5bint_5d_280_29(ptr noalias nonnull writeonly captures(none) %retptr, i64 %arg.address, ptr readonly captures(none) %arg.job) unnamed_addr {
B0.endif:
  %.14 = getelementptr inbounds nuw i8, ptr %arg.job, i64 200
  %.16 = load i64, ptr %.14, align 1
  %.9861.not = icmp slt i64 %.16, 1
  br i1 %.9861.not, label %B458, label %B46.preheader

B46.preheader:                                    ; preds = %B0.endif
  %sunkaddr9 = getelementptr inbounds nuw i8, ptr %arg.job, i64 88
  %sunkaddr8 = getelementptr inbounds nuw i8, ptr %arg.job, i64 64
  %sunkaddr3 = getelementptr inbounds nuw i8, ptr %arg.job, i64 32
  %sunkaddr6 = getelementptr inbounds nuw i8, ptr %arg.job, i64 56
  br label %B46

B46thread-pre-split:                              ; preds = %B456
  %.141.pr = load i64, ptr %.14, align 1
  br label %B46

B46:                                              ; preds = %B46.preheader, %B46thread-pre-split
  %.141 = phi i64 [ %.141.pr, %B46thread-pre-split ], [ %.16, %B46.preheader ]
  %.40.0 = phi i64 [ %.111, %B46thread-pre-split ], [ 0, %B46.preheader ]
  %.111 = add nuw nsw i64 %.40.0, 1
  %.144 = icmp eq i64 %.141, 0
  br i1 %.144, label %B46.endif.endif, label %B46.endif.else, !prof !6

B192:                                             ; preds = %B46.endif.endif, %B380
  %index.2.1 = phi i64 [ %.299, %B380 ], [ %.247, %B46.endif.endif ]
  %.260 = load i64, ptr %sunkaddr3, align 1
  %.264 = load i64, ptr %sunkaddr6, align 1
  %.266 = mul i64 %index.2.1, 24
  %.267 = add i64 %.264, %.266
  %.268 = inttoptr i64 %.267 to ptr
  %.271 = load i64, ptr %.268, align 1
  %.272 = mul i64 %.271, 96
  %.273 = add i64 %.272, %.260
  %.274 = inttoptr i64 %.273 to ptr
  %.275 = getelementptr inbounds nuw i8, ptr %.274, i64 32
  %.277 = load i64, ptr %.275, align 1
  %.278 = icmp sgt i64 %.277, -1
  br i1 %.278, label %B324, label %B380

B324:                                             ; preds = %B192
  %.283 = load i64, ptr %arg.job, align 1
  %.286 = inttoptr i64 %.283 to ptr
  tail call void %.286(i64 %arg.address, i64 1, i64 %index.2.1)
  br label %B380

B380:                                             ; preds = %B324, %B192
  %.294 = load i64, ptr %sunkaddr9, align 1
  %.297 = add nsw i64 %.294, %.244
  %.298 = inttoptr i64 %.297 to ptr
  %.299 = atomicrmw add ptr %.298, i64 1 seq_cst, align 8
  %.303 = icmp slt i64 %.299, %quot.1.0
  br i1 %.303, label %B192, label %B456

B456:                                             ; preds = %B380, %B46.endif.endif
  %exitcond.not = icmp eq i64 %.111, %.16
  br i1 %exitcond.not, label %B458, label %B46thread-pre-split

B458:                                             ; preds = %B456, %B0.endif
  store ptr null, ptr %retptr, align 8
  ret void

B46.endif.else:                                   ; preds = %B46
  %0 = or i64 %.40.0, %.141
  %1 = icmp ult i64 %0, 4294967296
  br i1 %1, label %2, label %7

2:                                                ; preds = %B46.endif.else
  %3 = trunc nuw i64 %.141 to i32
  %4 = trunc nuw i64 %.40.0 to i32
  %5 = urem i32 %4, %3
  %6 = zext i32 %5 to i64
  br label %9

7:                                                ; preds = %B46.endif.else
  %8 = srem i64 %.40.0, %.141
  br label %9

9:                                                ; preds = %7, %2
  %10 = phi i64 [ %6, %2 ], [ %8, %7 ]
  %11 = icmp ne i64 %.141, -1
  %.164.not = icmp eq i64 %10, 0
  %12 = tail call i64 @llvm.smin.i64(i64 %.141, i64 0)
  %.172 = select i1 %.164.not, i64 0, i64 %12
  %spec.select = add nsw i64 %.172, %10
  %.186 = add nsw i64 %spec.select, 1
  %.190 = load i64, ptr %sunkaddr8, align 1
  %.191 = mul nsw i64 %.186, %.190
  %.209 = icmp ne i64 %.191, -9223372036854775808
  %.211.not = or i1 %11, %.209
  br i1 %.211.not, label %B46.endif.else.if, label %B46.endif.endif, !prof !7

B46.endif.endif:                                  ; preds = %25, %9, %B46
  %rem.057 = phi i64 [ 0, %B46 ], [ %spec.select, %9 ], [ %spec.select, %25 ]
  %quot.1.0 = phi i64 [ 0, %B46 ], [ 0, %9 ], [ %spec.select59, %25 ]
  %.242 = load i64, ptr %sunkaddr9, align 1
  %.244 = shl nsw i64 %rem.057, 6
  %.245 = add nsw i64 %.242, %.244
  %.246 = inttoptr i64 %.245 to ptr
  %.247 = atomicrmw add ptr %.246, i64 1 seq_cst, align 8
  %.252 = icmp slt i64 %.247, %quot.1.0
  br i1 %.252, label %B192, label %B456

B46.endif.else.if:                                ; preds = %9
  %13 = or i64 %.191, %.141
  %14 = icmp ult i64 %13, 4294967296
  br i1 %14, label %15, label %22

15:                                               ; preds = %B46.endif.else.if
  %16 = trunc nuw i64 %.141 to i32
  %17 = trunc nuw i64 %.191 to i32
  %18 = udiv i32 %17, %16
  %19 = urem i32 %17, %16
  %20 = zext i32 %18 to i64
  %21 = zext i32 %19 to i64
  br label %25

22:                                               ; preds = %B46.endif.else.if
  %23 = sdiv i64 %.191, %.141
  %24 = srem i64 %.191, %.141
  br label %25

25:                                               ; preds = %22, %15
  %26 = phi i64 [ %20, %15 ], [ %23, %22 ]
  %27 = phi i64 [ %21, %15 ], [ %24, %22 ]
  %.216 = xor i64 %27, %.141
  %.217 = icmp slt i64 %.216, 0
  %.218 = icmp ne i64 %27, 0
  %.219 = and i1 %.218, %.217
  %.224 = sext i1 %.219 to i64
  %spec.select59 = add i64 %26, %.224
  br label %B46.endif.endif
}

declare ptr @PyEval_RestoreThread(i64) local_unnamed_addr

; Function Attrs: mustprogress nocallback nocreateundeforpoison nofree nosync nounwind speculatable willreturn memory(none)
declare i64 @llvm.smin.i64(i64, i64) #1

declare i32 @pthread_cond_broadcast(i64) local_unnamed_addr

declare i32 @sched_yield() local_unnamed_addr

declare i64 @PyObject_CallOneArg(i64, i64) local_unnamed_addr

declare i64 @PyList_Size(i64) local_unnamed_addr

; Function Attrs: mustprogress nocallback nocreateundeforpoison nofree nosync nounwind speculatable willreturn memory(none)
declare i64 @llvm.smax.i64(i64, i64) #1

declare i64 @PyList_GetItem(i64, i64) local_unnamed_addr

; Function Attrs: nocallback nofree nosync nounwind willreturn memory(argmem: readwrite)
declare void @llvm.lifetime.start.p0(ptr captures(none)) #2

; Function Attrs: nocallback nofree nosync nounwind willreturn memory(argmem: readwrite)
declare void @llvm.lifetime.end.p0(ptr captures(none)) #2

attributes #0 = { nounwind }
attributes #1 = { mustprogress nocallback nocreateundeforpoison nofree nosync nounwind speculatable willreturn memory(none) }
attributes #2 = { nocallback nofree nosync nounwind willreturn memory(argmem: readwrite) }
attributes #3 = { noinline }

!0 = !{!1}
!1 = distinct !{!1, !2, !"_ZN16pyfastlr_kernels6launch4workB2v2B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!2 = distinct !{!2, !"_ZN16pyfastlr_kernels6launch4workB2v2B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!3 = !{!4, !1}
!4 = distinct !{!4, !5, !"_ZN16pyfastlr_kernels6launch4walkB2v3B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EEx: %retptr"}
!5 = distinct !{!5, !"_ZN16pyfastlr_kernels6launch4walkB2v3B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EEx"}
!6 = !{!"branch_weights", i32 1, i32 99}
!7 = !{!"branch_weights", i32 99, i32 1}
!8 = !{!9}
!9 = distinct !{!9, !10, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!10 = distinct !{!10, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!11 = !{!12}
!12 = distinct !{!12, !13, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!13 = distinct !{!13, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!14 = !{!15}
!15 = distinct !{!15, !16, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!16 = distinct !{!16, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!17 = !{!18}
!18 = distinct !{!18, !19, !"_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx: %retptr"}
!19 = distinct !{!19, !"_ZN16pyfastlr_kernels6launch4stepB2v5B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EExxx"}
!20 = !{!21, !18}
!21 = distinct !{!21, !22, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!22 = distinct !{!22, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!23 = !{!24, !18}
!24 = distinct !{!24, !25, !"_ZN16pyfastlr_kernels6launch3askB3v11B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EE: %retptr"}
!25 = distinct !{!25, !"_ZN16pyfastlr_kernels6launch3askB3v11B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EE"}
!26 = !{!27, !24, !18}
!27 = distinct !{!27, !28, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!28 = distinct !{!28, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!29 = !{!30, !24, !18}
!30 = distinct !{!30, !31, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!31 = distinct !{!31, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!32 = !{!33, !24, !18}
!33 = distinct !{!33, !34, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!34 = distinct !{!34, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!35 = !{!36, !24, !18}
!36 = distinct !{!36, !37, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!37 = distinct !{!37, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!38 = !{!39, !18}
!39 = distinct !{!39, !40, !"_ZN16pyfastlr_kernels6launch6commitB3v17B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EE: %retptr"}
!40 = distinct !{!40, !"_ZN16pyfastlr_kernels6launch6commitB3v17B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EE"}
!41 = !{!42, !18}
!42 = distinct !{!42, !43, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!43 = distinct !{!43, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!44 = !{!45, !18}
!45 = distinct !{!45, !46, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!46 = distinct !{!46, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!47 = !{!48, !18}
!48 = distinct !{!48, !49, !"_ZN16pyfastlr_kernels6launch4foldB3v12B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE: %retptr"}
!49 = distinct !{!49, !"_ZN16pyfastlr_kernels6launch4foldB3v12B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2064EE"}
!50 = !{!51, !53, !48, !18}
!51 = distinct !{!51, !52, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!52 = distinct !{!52, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!53 = distinct !{!53, !54, !"_ZN16pyfastlr_kernels6launch10same_carryB3v13B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAExx: %retptr"}
!54 = distinct !{!54, !"_ZN16pyfastlr_kernels6launch10same_carryB3v13B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAExx"}
!55 = !{!56, !53, !48, !18}
!56 = distinct !{!56, !57, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!57 = distinct !{!57, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!58 = !{!59, !53, !48, !18}
!59 = distinct !{!59, !60, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!60 = distinct !{!60, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!61 = !{!62, !53, !48, !18}
!62 = distinct !{!62, !63, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!63 = distinct !{!63, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!64 = !{!65, !53, !48, !18}
!65 = distinct !{!65, !66, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!66 = distinct !{!66, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!67 = !{!68, !53, !48, !18}
!68 = distinct !{!68, !69, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!69 = distinct !{!69, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!70 = !{!71, !53, !48, !18}
!71 = distinct !{!71, !72, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!72 = distinct !{!72, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!73 = !{!74, !53, !48, !18}
!74 = distinct !{!74, !75, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!75 = distinct !{!75, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!76 = !{!77, !18}
!77 = distinct !{!77, !78, !"_ZN16pyfastlr_kernels6launch6rewindB3v14B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EE: %retptr"}
!78 = distinct !{!78, !"_ZN16pyfastlr_kernels6launch6rewindB3v14B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EE"}
!79 = !{!80, !39, !18}
!80 = distinct !{!80, !81, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!81 = distinct !{!81, !"_ZN16pyfastlr_kernels6launch6numberB2v6B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!82 = !{!83, !85}
!83 = distinct !{!83, !84, !"_ZN16pyfastlr_kernels6launch9half_wordB2v9B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!84 = distinct !{!84, !"_ZN16pyfastlr_kernels6launch9half_wordB2v9B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!85 = distinct !{!85, !86, !"_ZN16pyfastlr_kernels6launch10same_shapeB2v8B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2207EE: %retptr"}
!86 = distinct !{!86, !"_ZN16pyfastlr_kernels6launch10same_shapeB2v8B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2207EE"}
!87 = !{!85}
!88 = !{!89, !85}
!89 = distinct !{!89, !90, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!90 = distinct !{!90, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!91 = !{!92, !85}
!92 = distinct !{!92, !93, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!93 = distinct !{!93, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!94 = !{!95, !85}
!95 = distinct !{!95, !96, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!96 = distinct !{!96, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!97 = !{!98, !100}
!98 = distinct !{!98, !99, !"_ZN16pyfastlr_kernels6launch9half_wordB2v9B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!99 = distinct !{!99, !"_ZN16pyfastlr_kernels6launch9half_wordB2v9B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!100 = distinct !{!100, !101, !"_ZN16pyfastlr_kernels6launch10same_shapeB2v8B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2207EE: %retptr"}
!101 = distinct !{!101, !"_ZN16pyfastlr_kernels6launch10same_shapeB2v8B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx6RecordILi2207EE"}
!102 = !{!100}
!103 = !{!104, !100}
!104 = distinct !{!104, !105, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!105 = distinct !{!105, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!106 = !{!107, !100}
!107 = distinct !{!107, !108, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!108 = distinct !{!108, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!109 = !{!110, !100}
!110 = distinct !{!110, !111, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!111 = distinct !{!111, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!112 = !{!113}
!113 = distinct !{!113, !114, !"_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx: %retptr"}
!114 = distinct !{!114, !"_ZN16pyfastlr_kernels6launch8overlapsB3v10B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAE6RecordILi2064EExx"}
!115 = !{!116, !113}
!116 = distinct !{!116, !117, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!117 = distinct !{!117, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!118 = !{!119, !113}
!119 = distinct !{!119, !120, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!120 = distinct !{!120, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!121 = !{!122}
!122 = distinct !{!122, !123, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!123 = distinct !{!123, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!124 = !{!125}
!125 = distinct !{!125, !126, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!126 = distinct !{!126, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!127 = !{!128}
!128 = distinct !{!128, !129, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!129 = distinct !{!129, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!130 = !{!131}
!131 = distinct !{!131, !132, !"_ZN16pyfastlr_kernels6launch9half_wordB2v9B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!132 = distinct !{!132, !"_ZN16pyfastlr_kernels6launch9half_wordB2v9B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
!133 = !{!134}
!134 = distinct !{!134, !135, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx: %retptr"}
!135 = distinct !{!135, !"_ZN16pyfastlr_kernels6launch4wordB2v4B58c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAQ4s_2fqErM2IZJFEEM0wQAEx"}
